"""Reductions under PyTorch's and NumPy's names. Without an axis, all axes are reduced."""

from __future__ import annotations

import builtins
import math
from typing import Any, Literal

from ..current_tracer import apply
from ..ir.dtypes import f32, f64, u8
from ..ir.errors import RuleError
from ..ir.rules import axes_from_end
from ..masks import counted
from ..tensor import Operators, Tensor
from .calls import as_tensor, function, is_traced

Axes = int | tuple[int, ...] | None


@function(method=True)
def sum(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Sum over axes; of booleans, how many are True, as i64."""
    return apply("reduce_sum", counted(x), axes=axis, keepdims=keepdims)


@function(method=True)
def mean(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Mean over axes."""
    return apply("reduce_mean", x, axes=axis, keepdims=keepdims)


@function(method=True)
def prod(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Product over axes."""
    return apply("reduce_prod", x, axes=axis, keepdims=keepdims)


def _extremum(name: Literal["max", "min"], x: Any, axis: Any, keepdims: bool, dim: Any) -> Tensor:
    if dim is not None:
        raise RuleError(f"PyTorch's {name}(dim=...) gives values and indices; write a{name}(dim=...) or {name}(axis=...) for the "
                        f"values, arg{name}(dim=...) for the indices, topk(1) for both")
    if isinstance(axis, Operators):
        raise RuleError(f"the {name} of two tensors, element by element, is tg.{name}imum(x, y)")
    return apply(f"reduce_{name}", x, axes=axis, keepdims=keepdims)


@function(method=True)
def max(x: Any, axis: Axes = None, keepdims: bool = False, *, dim: Any = None) -> Tensor:
    """Largest over axes, NumPy's max. PyTorch's max(dim=) also gives indices and is refused: amax(dim=) is the same as this."""
    return _extremum("max", x, axis, keepdims, dim)


@function(method=True)
def min(x: Any, axis: Axes = None, keepdims: bool = False, *, dim: Any = None) -> Tensor:
    """Smallest over axes, NumPy's min. PyTorch's min(dim=) also gives indices and is refused: amin(dim=) is the same as this."""
    return _extremum("min", x, axis, keepdims, dim)


@function(method=True)
def amax(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Largest over axes."""
    return apply("reduce_max", x, axes=axis, keepdims=keepdims)


@function(method=True)
def amin(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Smallest over axes."""
    return apply("reduce_min", x, axes=axis, keepdims=keepdims)


@function(method=True)
def any(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether an element over axes is True, or not 0; False over nothing."""
    return _truth("reduce_max", x, axis, keepdims)


@function(method=True)
def all(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether all elements over axes are True, or not 0; True over nothing."""
    return _truth("reduce_min", x, axis, keepdims)


def _truth(reduction: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    holds = x if x.dtype.is_bool else x != 0
    # over nothing the reductions of u8 give its ends, 0 and 255
    return apply(reduction, apply("cast", holds, dtype=u8), axes=axis, keepdims=keepdims) != 0


@function(method=True)
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Without an axis, the index within the flattened tensor."""
    return _position(x, axis, keepdims)


@function(method=True)
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the first smallest element along an axis, as i64; NaN counts as the smallest. Without an axis, of all."""
    x = as_tensor(x)
    if x.dtype.is_bool:
        raise RuleError(f"needs numbers, got {x.type}; cast it first")
    turned = -x if x.dtype.is_float else (255 if x.dtype == u8 else -1) - x  # the other order of integers, without overflow
    return _position(turned, axis, keepdims)


def _position(x: Any, axis: int | None, keepdims: bool) -> Tensor:
    if axis is not None or not is_traced(x):
        return apply("argmax", x, axis=-1 if axis is None else axis, keepdims=keepdims)
    flat = apply("argmax", apply("reshape", x, shape=(x.type.size,)), axis=0)
    return apply("reshape", flat, shape=(1,) * x.rank) if keepdims else flat


@function(method=True)
def cumsum(x: Any, axis: int | None = None, exclusive: bool = False) -> Tensor:
    """A tensor of several axes needs the axis."""
    if axis is None and is_traced(x) and x.rank != 1:
        raise RuleError("NumPy sums the flattened tensor where no axis is given, PyTorch wants one; write axis=-1 for the last, "
                        "or x.flatten().cumsum(0)")
    return apply("cumsum", x, axis=-1 if axis is None else axis, exclusive=exclusive)


@function(method=True)
def var(x: Any, axis: Axes = None, correction: float = 0, keepdims: bool = False, *, unbiased: bool | None = None) -> Tensor:
    """Variance over axes: the sum of squared distances from the mean, divided by count - correction.

    The default correction is 0, NumPy's and the array API standard's, as layer norms have it; PyTorch's default is correction=1,
    its unbiased=True. Halves are computed in f32.
    """
    return _narrow(_variance(x, axis, correction, keepdims, unbiased), x)


@function(method=True)
def std(x: Any, axis: Axes = None, correction: float = 0, keepdims: bool = False, *, unbiased: bool | None = None) -> Tensor:
    """Standard deviation over axes: the square root of `var`.

    The default correction is 0, NumPy's and the array API standard's; PyTorch's default is correction=1, its unbiased=True.
    """
    return _narrow(apply("sqrt", _variance(x, axis, correction, keepdims, unbiased)), x)


def _variance(x: Any, axis: Any, correction: Any, keepdims: Any, unbiased: bool | None) -> Tensor:
    x = _wide(as_tensor(x))
    if isinstance(correction, bool) or (isinstance(unbiased, int) and not isinstance(unbiased, bool)):
        raise RuleError("correction is a number, and unbiased True (1) or False (0); the axis comes first: var(-1, correction=1)")
    if not isinstance(correction, (int, float)) or not isinstance(keepdims, bool):
        raise RuleError(f"correction is a number and keepdims True or False, got {correction!r} and {keepdims!r}")
    if unbiased is not None:
        correction = int(unbiased)
    centred = x - apply("reduce_mean", x, axes=axis, keepdims=True)
    if correction == 0:
        return apply("reduce_mean", centred * centred, axes=axis, keepdims=keepdims)
    count = math.prod([x.shape[a] for a in axes_from_end(axis, x.rank)])
    total = apply("reduce_sum", centred * centred, axes=axis, keepdims=keepdims)
    if isinstance(count, int):
        return total / builtins.float(builtins.max(count - correction, 0))
    return total / apply("maximum", apply("dim_size", size=count, dtype=x.dtype) - builtins.float(correction), 0.0)


@function(method=True)
def norm(x: Any, ord: float | str | None = None, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Vector norm over axes: (sum of |x|^ord)^(1/ord), by default the Euclidean one, ord=2 (over two axes: Frobenius).

    ord=inf: the largest |x|, -inf: the smallest, 0: how many are not 0. Norms of matrices other than Frobenius's are not
    there: an ord over two axes, which NumPy reads as one, is refused. Halves are computed in f32.
    """
    x = as_tensor(x)
    axes = axes_from_end(axis, x.rank)
    if ord not in (None, "fro") and len(axes) == 2:
        raise RuleError(f"ord={ord!r} over two axes is a norm of matrices in NumPy; give one axis, or flatten the two first: "
                        f"x.flatten(-2).norm({ord!r}, -1)")
    if isinstance(ord, bool) or (not isinstance(ord, (int, float)) and ord not in (None, "fro")):
        raise RuleError(f"ord is a number, got {ord!r}; the axis comes second: norm(x, 2, -1)")
    wide = _wide(x)
    size = apply("abs", wide)
    if ord in (None, "fro", 2):
        made = apply("sqrt", apply("reduce_sum", wide * wide, axes=axes, keepdims=keepdims))
    elif ord in (math.inf, -math.inf):
        made = apply("reduce_max" if ord == math.inf else "reduce_min", size, axes=axes, keepdims=keepdims)
        made = apply("maximum", made, 0.0) if ord == math.inf else made  # 0 over nothing
    elif ord == 0:
        made = apply("reduce_sum", apply("cast", x != 0, dtype=wide.dtype), axes=axes, keepdims=keepdims)
    elif ord == 1:
        made = apply("reduce_sum", size, axes=axes, keepdims=keepdims)
    else:
        assert isinstance(ord, (int, float))
        made = apply("reduce_sum", size ** builtins.float(ord), axes=axes, keepdims=keepdims) ** (1.0 / ord)
    return _narrow(made, x)


@function(method=True)
def logsumexp(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Logarithm of the sum of exponentials over axes, computed without overflow: m + ln sum of e^(x - m), m = max x."""
    x = as_tensor(x)
    largest = apply("reduce_max", x, axes=axis, keepdims=True)
    shift = apply("where", apply("isinf", largest), 0.0, largest)  # inf - inf would be NaN
    total = apply("log", apply("reduce_sum", apply("exp", x - shift), axes=axis, keepdims=True)) + shift
    return total if keepdims else apply("squeeze", total, axes=axes_from_end(axis, x.rank))


def _wide(x: Any) -> Any:
    """Halves as f32, whose range holds the squares of theirs."""
    if not x.dtype.is_float:
        raise RuleError(f"needs a floating-point operand, got {x.type}")
    return x if x.dtype in (f32, f64) else apply("cast", x, dtype=f32)


def _narrow(made: Tensor, x: Any) -> Tensor:
    dtype = getattr(x, "dtype", f32)
    return made if made.dtype == dtype or not isinstance(x, Operators) else apply("cast", made, dtype=dtype)
