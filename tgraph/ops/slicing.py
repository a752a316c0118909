"""Taking tensors apart and putting them together along axes."""

from __future__ import annotations

import builtins

import numpy as np

from ..ir.axis_maps import same_axes
from ..ir.dims import Dim, DimLike, compare
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import at_least, axis_from_end, axis_index, order, same, same_dtype
from ..ir.types import TensorType
from .numbers import require_number


@op(view="join", axis_attributes={"axis": "operand axes"})
def concat(*xs: TensorType, axis: int) -> TensorType:
    """Join along an axis; all other sizes agree. ONNX Concat."""
    if not xs:
        raise RuleError("concat needs at least one operand")
    same_dtype(*xs)
    first = xs[0]
    at = axis_index(axis, first.rank)
    total: DimLike = 0
    for x in xs:
        if x.rank != first.rank:
            raise RuleError(f"operands differ in rank: {first} and {x}")
        for i in range(first.rank):
            if i != at:
                same(first.shape[i], x.shape[i], f"sizes of axis {i} must agree, {first} and {x}")
        total = total + x.shape[at]
    return first.with_shape((*first.shape[:at], total, *first.shape[at + 1:]))


@concat.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [same_axes(result.rank, attrs["axis"])] * len(operands)


@concat.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)} if types else {}


@concat.reference
def _(*xs, axis):  # type: ignore[no-untyped-def]
    return np.concatenate(xs, axis=axis)


@op(view="cut", axis_attributes={"axis": "operand axes"})
def split(x: TensorType, *, sizes: int | tuple[DimLike, ...], axis: int = -1) -> tuple[TensorType, ...]:
    """Cut along an axis into parts of the given sizes (an int: so many equal parts). ONNX Split."""
    at = axis_index(axis, x.rank)
    parts = _parts(x.shape[at], sizes)
    total: DimLike = 0
    for size in parts:
        total = total + size
    same(x.shape[at], total, f"the sizes [{', '.join(map(str, parts))}] must add up to axis {axis} of {x}")
    return tuple(x.with_shape((*x.shape[:at], size, *x.shape[at + 1:])) for size in parts)


def _parts(extent: DimLike, sizes: object) -> tuple[DimLike, ...]:
    if isinstance(sizes, int) and not isinstance(sizes, bool):
        if sizes < 1:
            raise RuleError(f"cannot split into {sizes} parts")
        if compare(extent // sizes * sizes, extent) != "equal":
            raise RuleError(f"size {extent} does not divide into {sizes} equal parts")
        return (extent // sizes,) * sizes
    if not isinstance(sizes, (tuple, list)) or not sizes:
        raise RuleError(f"sizes is a number of parts or a tuple of sizes, got {sizes!r}")
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, (int, Dim)) or (isinstance(size, int) and size < 0):
            raise RuleError(f"{size!r} is no size")
    return tuple(sizes)


@split.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [same_axes(result.rank, attrs["axis"])]


@split.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    axis = axis_from_end(attrs["axis"], types[0].rank)
    return {"sizes": _parts(types[0].shape[axis], attrs["sizes"]), "axis": axis}


@split.reference
def _(x, *, sizes, axis):  # type: ignore[no-untyped-def]
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


@op(view="cut", axis_attributes={"axes": "operand axes"})
def slice(x: TensorType, *, starts: tuple[DimLike | None, ...], stops: tuple[DimLike | None, ...],
          axes: tuple[int, ...], steps: tuple[int, ...] | None = None) -> TensorType:
    """Elements start, start + step, ... before stop along each of `axes`, as Python slices.

    Negative positions count from the end; None is the end that the step leads from or to. Bounds that are known to lie outside
    are clipped, as NumPy's are; others must lie inside, which becomes a check at run time: x[:5] of a dim S is right where
    S >= 5. ONNX Slice.
    """
    shape = list(x.shape)
    for axis, start, stop, step in zip(axes, starts, stops, steps or ()):
        stop = -1 if stop is None else stop  # canonical: only a negative step leads off the start
        assert start is not None
        first, last = (start, stop) if step > 0 else (stop + 1, start + 1)  # what is read lies within first .. last - 1
        if first != last:
            rule = f"a slice of axis {axis} of {x} must lie inside"
            at_least(first, 0, rule)
            at_least(last, first, rule)
            at_least(x.shape[axis], last, rule)
        shape[axis] = (stop - start + step - 1) // step if step > 0 else (start - stop - step - 1) // -step
    return x.with_shape(tuple(shape))


@slice.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [same_axes(result.rank, *attrs["axes"])]


def _position(value: object, size: DimLike, low: int, high: DimLike, default: DimLike) -> DimLike:
    """A bound of a slice counted from the start, and clipped to low .. high where it is known to lie outside."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, Dim)):
        raise RuleError(f"a slice is made of integers and dims, got {value!r}")
    if order(value, 0) == "never":
        value = size + value
    elif isinstance(value, Dim) and order(0, value) == "holds":
        raise RuleError(f"{value} counts from the end, unless it is 0; give the position from the start: {size + value}")
    if _reaches(low, value):
        return low
    return high if _reaches(value, high) else value


def _reaches(a: DimLike, b: DimLike) -> bool:
    """Whether a >= b for all sizes, but not because of an equality alone: that may be known only after the slice is made, and
    its text has to be read as it was."""
    return order(a, b) == "holds" and (a == b or order(b, a) != "holds")


@slice.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    x = types[0]
    given = [attrs[k] for k in ("starts", "stops", "axes")]
    if not all(isinstance(g, (tuple, list)) for g in given) or len({len(g) for g in given}) != 1:
        raise RuleError("starts, stops and axes are tuples of one length")
    steps = attrs["steps"] or (1,) * len(given[0])
    found: dict[int, tuple[DimLike, DimLike | None, int]] = {}
    for start, stop, axis, step in zip(*given, steps, strict=True):
        if not isinstance(step, int) or step == 0:
            raise RuleError(f"a step is an integer other than 0, got {step!r}")
        at = axis_index(axis, x.rank)
        if at in found:
            raise RuleError(f"axis {axis} is sliced twice")
        size = x.shape[at]
        if step > 0:
            first = _position(start, size, 0, size, 0)
            last = _position(stop, size, 0, size, size)
            if order(last, first) == "never":
                last = first
        else:
            first = _position(start, size, -1, size - 1, size - 1)
            last = -1 if stop is None else _position(stop, size, -1, size - 1, -1)
            if last == -1 and first != -1:
                last = None  # a -1 in the attribute would be read as the last element
            elif _reaches(last, first):
                first = last = 0
        found[at] = first, last, step
    order_of_axes = sorted(found)
    return {"starts": tuple(found[a][0] for a in order_of_axes), "stops": tuple(found[a][1] for a in order_of_axes),
            "axes": tuple(a - x.rank for a in order_of_axes), "steps": tuple(found[a][2] for a in order_of_axes)}


@slice.reference
def _(x, *, starts, stops, axes, steps):  # type: ignore[no-untyped-def]
    index = [builtins.slice(None)] * x.ndim
    for start, stop, axis, step in zip(starts, stops, axes, steps):
        index[axis] = builtins.slice(start, stop, step)
    return x[tuple(index)]


@op(batched=True, axis_attributes={"before": "operand entries", "after": "operand entries"})
def pad(x: TensorType, *, before: tuple[DimLike, ...], after: tuple[DimLike, ...], value: bool | int | float = 0.0) -> TensorType:
    """Add so many elements of one value before and after each axis. ONNX Pad, mode constant."""
    for sizes in (before, after):
        if not isinstance(sizes, (tuple, list)) or len(sizes) != x.rank:
            raise RuleError(f"before and after have one size an axis ({x.rank}), got {sizes!r}")
        if any(isinstance(s, int) and s < 0 for s in sizes):
            raise RuleError(f"sizes to pad with are not negative, got {list(sizes)}")
    require_number(value, x.dtype, "value")
    return x.with_shape(tuple(b + d + a for b, d, a in zip(before, x.shape, after)))


@pad.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [[None if before != 0 or after != 0 else a for a, (before, after) in enumerate(zip(attrs["before"], attrs["after"]))]]


@pad.reference
def _(x, *, before, after, value):  # type: ignore[no-untyped-def]
    if not x.ndim:  # a number has no axis to pad, and np.pad refuses no axes
        return x
    return np.pad(x, list(zip(before, after)), constant_values=np.asarray(value).astype(x.dtype))
