"""Reading and writing single elements along an axis by number."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..ir.axis_maps import same_axes
from ..ir.dims import DimLike
from ..ir.dtypes import i64, u8
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import axis_from_end, axis_index, require_integer, same, same_dtype
from ..ir.types import TensorType
from .index import check_indices
from .numbers import in_f32
from .reduction import sum_dtype
from .shape import product


def _require_other_axes(x: TensorType, y: TensorType, at: int, what: str) -> None:
    if x.rank != y.rank:
        raise RuleError(f"{what} must have the rank of x, {x.rank}, got {y}")
    for i, (a, b) in enumerate(zip(x.shape, y.shape)):
        if i != at:
            same(a, b, f"{what} must have the sizes of x but along the axis (axis {i} of {x} and {y})")


def axis_last(rank: int, axis: int) -> tuple[int, ...]:
    """The order of axes that has `axis` last."""
    at = axis % rank
    return (*(a for a in range(rank) if a != at), at)


def to_last(b: Any, x: Any, axis: int) -> Any:
    """x with an axis moved to the end."""
    order = axis_last(x.type.rank, axis)
    return x if order == tuple(range(len(order))) else b.transpose(x, perm=order)


def from_last(b: Any, x: Any, axis: int) -> Any:
    """What `to_last` has moved, moved back."""
    order = axis_last(x.type.rank, axis)
    back = tuple(order.index(a) for a in range(len(order)))
    return x if back == tuple(range(len(back))) else b.transpose(x, perm=back)


def number(b: Any, size: DimLike) -> Any:
    """A size as an operand."""
    return size if isinstance(size, int) else b.dim_size(size=size)


def _from_start(b, indices, size):  # type: ignore[no-untyped-def]
    """Indices of an axis counted from its start, and whether they are within it."""
    wide = b.cast(indices, dtype=i64)
    wrapped = b.where(b.less(wide, 0), b.add(wide, number(b, size)), wide)
    inside = b.logical_and(b.greater_or_equal(wrapped, 0), b.less(wrapped, number(b, size)))
    return wrapped, inside


@op(batched=True, axis_attributes={"axis": "operand axes"})
def take_along_axis(x: TensorType, indices: TensorType, *, axis: int = -1) -> TensorType:
    """Elements along an axis, for each place another: y[a, i, b] = x[a, indices[a, i, b], b].

    indices: integers of x's rank and sizes, but for that of the axis; -n .. n-1, negative ones count from the end; outside
    raises InputError at run time. NumPy take_along_axis, PyTorch gather, ONNX GatherElements.
    """
    require_integer(indices, "indices")
    at = axis_index(axis, x.rank)
    _require_other_axes(x, indices, at, "indices")
    return x.with_shape((*x.shape[:at], indices.shape[at], *x.shape[at + 1:]))


@take_along_axis.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [same_axes(result.rank, attrs["axis"]), same_axes(result.rank)]


@take_along_axis.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)}


@take_along_axis.reference
def _(x, indices, *, axis):  # type: ignore[no-untyped-def]
    size = x.shape[axis]
    check_indices(indices, -size, size - 1, "take_along_axis", f"axis {axis} has size {size}")
    return np.take_along_axis(x, indices.astype(np.int64), axis) if indices.size else np.zeros(indices.shape, x.dtype)


@take_along_axis.decomposition
def _(b, x, indices, *, axis):  # type: ignore[no-untyped-def]
    """Lookups in the flattened tensor; an index outside of its axis becomes one outside of the whole."""
    if x.type.rank == 1:
        return b.gather(x, indices, axis=0)
    x, indices = to_last(b, x, axis), to_last(b, indices, axis)
    lead, size = x.shape[:-1], x.shape[-1]
    wrapped, inside = _from_start(b, indices, size)
    rows = b.reshape(b.range(stop=product(lead)), shape=(*lead, 1))
    places = b.where(inside, b.add(b.mul(rows, number(b, size)), wrapped), number(b, x.type.size))
    return from_last(b, b.gather(b.reshape(x, shape=(x.type.size,)), places, axis=0), axis)


@op(batched=True, axis_attributes={"axis": "operand axes"})
def scatter(x: TensorType, indices: TensorType, updates: TensorType, *, axis: int = -1,
            reduction: Literal["none", "add", "mul", "max", "min"] = "none") -> TensorType:
    """x with elements along an axis written by number: y = x, then y[a, indices[a, i, b], b] = updates[a, i, b].

    indices and updates have one shape: x's rank and sizes, but for that of the axis (n of x, m of them). Indices are -n .. n-1,
    negative ones count from the end; outside raises InputError at run time. reduction: what a written element is combined
    with what is there by; with "none", the last of several that write one place wins. Without a kernel of its own it is computed
    from each of n places' comparison with m indices: O(n m) time, O(n + m) memory. NumPy put_along_axis, PyTorch
    scatter and scatter_add, ONNX ScatterElements.
    """
    require_integer(indices, "indices")
    same_dtype(x, updates)
    at = axis_index(axis, x.rank)
    _require_other_axes(x, indices, at, "indices")
    _require_other_axes(x, updates, at, "updates")
    same(indices.shape[at], updates.shape[at], "indices and updates must have one shape")
    if x.dtype.is_bool and reduction != "none":
        raise RuleError(f'reduction "{reduction}" needs numbers, got {x}; cast it first')
    return x


@scatter.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [same_axes(result.rank, attrs["axis"])] * 3


@scatter.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)}


_UFUNCS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@scatter.reference
def _(x, indices, updates, *, axis, reduction):  # type: ignore[no-untyped-def]
    size = x.shape[axis]
    check_indices(indices, -size, size - 1, "scatter", f"axis {axis} has size {size}")
    if not indices.size:
        return x
    places = list(np.indices(indices.shape, sparse=True))
    places[axis] = np.where(indices < 0, indices.astype(np.int64) + size, indices.astype(np.int64))
    y = x.astype(sum_dtype(x) if reduction in ("add", "mul") else x.dtype)
    if reduction == "none":
        y[tuple(places)] = updates
    else:
        _UFUNCS[reduction].at(y, tuple(places), updates)
    return y


@scatter.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 2 * operands[0].size * operands[1].shape[attrs["axis"]]


@scatter.decomposition
def _(b, x, indices, updates, *, axis, reduction):  # type: ignore[no-untyped-def]
    apart = in_f32(_scattered) if reduction in ("add", "mul") else _scattered
    return apart(b, x, indices, updates, axis=axis, reduction=reduction)


def _scattered(b, x, indices, updates, *, axis, reduction):  # type: ignore[no-untyped-def]
    dtype = x.dtype
    x, indices, updates = (to_last(b, v, axis) for v in (x, indices, updates))
    size, count = x.shape[-1], indices.shape[-1]
    wrapped, inside = _from_start(b, indices, size)
    places = b.range(stop=size)
    written = b.equal(b.unsqueeze(wrapped, axes=(-2,)), b.unsqueeze(places, axes=(1,)))  # [..., n, m]
    wrong = b.reduce_max(b.cast(b.logical_not(inside), dtype=u8), axes=(-1,), keepdims=True)
    if reduction == "none":
        last = b.reduce_max(b.where(written, b.range(stop=count), -1), axes=(-1,))
        source, taken = b.concat(x, updates, axis=-1), b.where(b.less(last, 0), places, b.add(last, number(b, size)))
    else:
        low, high = (-np.inf, np.inf) if dtype.is_float else (int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max))
        neutral = {"add": 0, "mul": 1, "max": low, "min": high}[reduction]
        found = b.where(written, b.unsqueeze(updates, axes=(-2,)), b.constant(neutral, dtype))
        reduce, combine = {"add": (b.reduce_sum, b.add), "mul": (b.reduce_prod, b.mul), "max": (b.reduce_max, b.maximum),
                           "min": (b.reduce_min, b.minimum)}[reduction]
        source = combine(x, reduce(found, axes=(-1,)))
        taken = b.expand(places, shape=x.shape)
    outside = number(b, source.shape[-1])
    return from_last(b, b.take_along_axis(source, b.where(b.equal(wrong, 0), taken, outside), axis=-1), axis)
