"""Functions that put tensors together and take them apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..current_tracer import apply
from ..ir.dims import Dim
from ..ir.errors import RuleError
from ..ir.rules import axis_index
from ..tensor import Operators, Tensor
from .calls import as_tensor, function, known_size, spread


@function(aliases=("cat", "concatenate"))
def concat(*given: Any, axis: Any = None) -> Tensor:
    """The tensors are given one by one or as a list, the axis by name or after the list: concat([x, y], 1). A list alone is
    joined along axis 0, as NumPy and PyTorch do."""
    if given and isinstance(given[0], (tuple, list)) and (len(given) > 2 or (len(given) == 2 and axis is not None)):
        raise RuleError("takes a list of tensors and an axis")
    if len(given) > 1 and isinstance(given[0], (tuple, list)):
        given, axis = given[:1], given[1]
    elif len(given) == 1 and isinstance(given[0], (tuple, list)) and axis is None:
        axis = 0
    return apply("concat", *spread(given), **({} if axis is None else {"axis": axis}))


@function()
def stack(*given: Any, axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis: stack([x, y], axis=-1)."""
    if len(given) > 2 and isinstance(given[0], (tuple, list)):
        raise RuleError("takes a list of tensors and an axis")
    if len(given) > 1 and isinstance(given[0], (tuple, list)):
        given, axis = given[:1], given[1]
    parts = [as_tensor(x) for x in spread(given)]
    if not parts:
        raise RuleError("stack needs at least one tensor")
    at = axis_index(axis, parts[0].rank + 1)
    return apply("concat", *[apply("unsqueeze", x, axes=(at,)) for x in parts], axis=at)


@function(method=True)
def split(x: Any, *given: Any, sizes: Any = None, axis: int = -1) -> tuple[Tensor, ...]:
    """A number of parts by name, sizes=2, or a tuple of sizes. A number by position means the size of a part in PyTorch and the
    number of parts in NumPy, and is refused: `chunk` makes parts."""
    if (given and sizes is not None) or len(given) > 2:
        raise RuleError("takes a tensor, sizes and an axis")
    if given:
        sizes, axis = given[0], given[1] if len(given) == 2 else axis
        if not isinstance(sizes, (tuple, list)):
            raise RuleError(f"split({sizes}) makes parts of size {sizes} in PyTorch and {sizes} parts in NumPy; write "
                            f"chunk({sizes}, axis) for {sizes} parts, or split((n, n, ...), axis)")
    return apply("split", x, **({} if sizes is None else {"sizes": sizes}), axis=axis)


@function(method=True)
def chunk(x: Any, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """So many parts along an axis, by default axis 0 as in PyTorch, of equal size but the last, which may be smaller.

    As in PyTorch there are fewer parts where the rounded-up size fills the axis with fewer. A symbolic size must be divisible.
    """
    x = as_tensor(x)
    if isinstance(chunks, bool) or not isinstance(chunks, int) or chunks < 1:
        raise RuleError(f"chunks is a number of parts, got {chunks!r}")
    at = axis_index(axis, x.rank)
    size = x.shape[at]
    if not isinstance(size, int) or size == 0:
        return apply("split", x, sizes=chunks, axis=at)
    part = -(-size // chunks)
    return apply("split", x, sizes=(*(part,) * (size // part), *((size % part,) if size % part else ())), axis=at)


@function(method=True)
def unbind(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, whose size must be known while tracing, as a tuple: q, k, v = qkv.unbind(2)."""
    x = as_tensor(x)
    at = axis_index(axis, x.rank)
    count = known_size(x, at, "as there are so many results")
    if not count:
        return ()
    return tuple(apply("squeeze", part, axes=(at,)) for part in apply("split", x, sizes=count, axis=at))


@function(method=True)
def tril(x: Any, k: Any = 0) -> Tensor:
    """The lower triangle of matrices, zeros above: x[..., i, j] where j <= i + k."""
    return _triangle(x, k, "less_or_equal", 0)


@function(method=True)
def triu(x: Any, k: Any = 0) -> Tensor:
    """The upper triangle of matrices, zeros below: x[..., i, j] where j >= i + k."""
    return _triangle(x, k, "greater_or_equal", 0)


def _triangle(x: Any, k: Any, comparison: str, zero: int) -> Tensor:
    x = as_tensor(x)
    if x.rank < 2:
        raise RuleError(f"takes matrices, of rank 2 or more, got {x.type}")
    if isinstance(k, bool) or not isinstance(k, (int, Dim, np.integer)):
        raise RuleError(f"the diagonal is an integer, got {k!r}")
    k = k if isinstance(k, Dim) else int(k)
    rows = apply("unsqueeze", apply("range", start=k, stop=x.shape[-2] + k), axes=(1,))
    kept = apply(comparison, apply("range", stop=x.shape[-1]), rows)
    return apply("logical_and", x, kept) if x.dtype.is_bool else apply("where", kept, x, zero)


@function(method=True)
def gather(x: Any, indices: Any, axis: Any = 0) -> Tensor:
    """PyTorch's gather(x, dim, index) is another function, `take_along_axis(x, indices, axis)`."""
    if isinstance(axis, (Operators, np.ndarray)):
        raise RuleError(f"is ONNX's, gather(x, indices, axis); PyTorch's is take_along_axis(x, index, axis={indices!r})")
    return apply("gather", x, indices, axis=axis)
