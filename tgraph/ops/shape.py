"""Ops that change a shape or the order of axes, and move no other data."""

from __future__ import annotations

import numpy as np

from ..ir.dims import Dim, DimLike, compare
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import axes_from_end, axis_index, same
from ..ir.types import TensorType


def product(shape: tuple[DimLike, ...]) -> DimLike:
    """Number of elements of a shape."""
    total: DimLike = 1
    for size in shape:
        total = total * size
    return total


def require_shape(shape: object) -> tuple[DimLike, ...]:
    """Check an attribute that must be a tuple of dims."""
    given = (shape,) if isinstance(shape, (int, Dim)) else shape
    if not isinstance(given, (tuple, list)) or any(isinstance(d, bool) or not isinstance(d, (int, Dim)) for d in given):
        raise RuleError(f"a shape is a tuple of sizes, got {shape!r}")
    return tuple(given)


@op(view="regroup", axis_attributes={"shape": "result sizes"})
def reshape(x: TensorType, *, shape: tuple[DimLike, ...]) -> TensorType:
    """The same elements in row-major order under another shape; one size may be -1. ONNX Reshape."""
    wanted = require_shape(shape)
    for size in wanted:
        if isinstance(size, int) and size < 0:
            raise RuleError(f"size {size} in shape {list(wanted)}")
    same(x.size, product(wanted), f"reshape to [{', '.join(map(str, wanted))}] must keep the number of elements")
    return x.with_shape(wanted)


@reshape.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    shape = require_shape(attrs["shape"])
    if shape.count(-1) > 1:
        raise RuleError(f"only one size of a shape may be -1, got {list(shape)}")
    if -1 not in shape:
        return {"shape": shape}
    known = product(tuple(d for d in shape if d != -1))
    size = types[0].size
    if isinstance(known, int) and known == 0:
        raise RuleError(f"-1 has no value in shape {list(shape)}")
    left = size // known if isinstance(known, int) or isinstance(size, Dim) else Dim({}) if size == 0 else size // known
    if compare(left * known, size) == "different":
        raise RuleError(f"{types[0]} has {size} elements, which {known} does not divide")
    return {"shape": tuple(left if d == -1 else d for d in shape)}


@reshape.reference
def _(x, *, shape):  # type: ignore[no-untyped-def]
    return np.reshape(x, shape)


@op(view="permute", axis_attributes={"perm": "permutation"})
def transpose(x: TensorType, *, perm: tuple[int, ...] | None = None) -> TensorType:
    """Permute axes: axis i of the result is axis perm[i] of x; reversed without perm. ONNX Transpose."""
    order = _perm(perm, x.rank)
    return x.with_shape(tuple(x.shape[a] for a in order))


def _perm(perm: object, rank: int) -> tuple[int, ...]:
    if perm is None:
        return tuple(reversed(range(rank)))
    if not isinstance(perm, (tuple, list)):
        raise RuleError(f"perm is a tuple of axes, got {perm!r}")
    order = tuple(axis_index(a, rank) for a in perm)
    if sorted(order) != list(range(rank)):
        raise RuleError(f"perm {list(perm)} is no permutation of the {rank} axes")
    return order


@transpose.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [attrs["perm"]]


@transpose.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"perm": _perm(attrs["perm"], types[0].rank)}


@transpose.reference
def _(x, *, perm):  # type: ignore[no-untyped-def]
    return np.transpose(x, perm)


@op(view="repeat", axis_attributes={"shape": "result sizes"})
def expand(x: TensorType, *, shape: tuple[DimLike, ...]) -> TensorType:
    """Repeat along axes of size 1 (and new leading ones) up to a shape, as broadcasting does. ONNX Expand."""
    wanted = require_shape(shape)
    if x.rank > len(wanted):
        raise RuleError(f"cannot expand {x} to the lower rank of {list(wanted)}")
    for have, want in zip(reversed(x.shape), reversed(wanted)):
        if have != 1:
            same(want, have, f"cannot expand {x} to [{', '.join(map(str, wanted))}]")
    return x.with_shape(wanted)


@expand.reference
def _(x, *, shape):  # type: ignore[no-untyped-def]
    return np.broadcast_to(x, shape)


@op(view="regroup", axis_attributes={"axes": "operand axes"})
def squeeze(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    """Drop axes of size 1. ONNX Squeeze."""
    gone = {a % x.rank for a in axes_from_end(axes, x.rank)}
    for a in gone:
        same(1, x.shape[a], f"axis {a} of {x} must have size 1")
    return x.with_shape(tuple(d for i, d in enumerate(x.shape) if i not in gone))


@squeeze.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    gone = {a % operands[0].rank for a in attrs["axes"]}
    return [[a for a in range(operands[0].rank) if a not in gone]]


@squeeze.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axes": axes_from_end(attrs["axes"], types[0].rank)}


@squeeze.reference
def _(x, *, axes):  # type: ignore[no-untyped-def]
    return np.squeeze(x, axis=axes)


@op(view="regroup", axis_attributes={"axes": "result axes"})
def unsqueeze(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    """Insert axes of size 1; axes count in the result. ONNX Unsqueeze."""
    rank = x.rank + len(_axes(axes))
    new = {a % rank for a in axes_from_end(_axes(axes), rank)}
    sizes = iter(x.shape)
    return x.with_shape(tuple(1 if i in new else next(sizes) for i in range(rank)))


@unsqueeze.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    new, old = {a % result.rank for a in attrs["axes"]}, iter(range(operands[0].rank))
    return [[None if a in new else next(old) for a in range(result.rank)]]


def _axes(axes: object) -> tuple[int, ...]:
    given = (axes,) if isinstance(axes, int) else axes
    if not isinstance(given, (tuple, list)):
        raise RuleError(f"axes must be an int or a tuple of ints, got {axes!r}")
    return tuple(given)


@unsqueeze.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    axes = _axes(attrs["axes"])
    return {"axes": axes_from_end(axes, types[0].rank + len(axes))}


@unsqueeze.reference
def _(x, *, axes):  # type: ignore[no-untyped-def]
    return np.expand_dims(x, axes)
