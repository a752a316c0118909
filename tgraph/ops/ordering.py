"""Orders of elements along an axis. All are stable, and NaN counts as the largest, as in NumPy and PyTorch."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from ..ir.attributes import AtLeast
from ..ir.dtypes import i32, i64, u8
from ..ir.registry import op
from ..ir.rules import at_least, axis_from_end, axis_index
from ..ir.types import TensorType
from .along_axis import from_last, to_last

ROUNDS = 64  # of `topk`, each of which finds one element: with more, counting ranks is faster for all but very long axes


def ordered(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    """Indices that sort x along an axis, equal elements in their order."""
    if x.dtype.kind == "b":
        x = x.astype(np.uint8)
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    turned = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - turned, axis)


@op(along="axis")
def argsort(x: TensorType, *, axis: int = -1, descending: bool = False) -> TensorType:
    """Indices that sort x along an axis, as i64; equal elements keep their order, and NaN is the largest.

    Without a kernel of its own it counts for each of n elements how many come before it: O(n^2) time, O(n) memory. `topk` is
    cheaper for a few elements of many. NumPy and PyTorch argsort, stable.
    """
    axis_index(axis, x.rank)
    return x.with_dtype(i64)


@argsort.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)}


@argsort.reference
def _(x, *, axis, descending):  # type: ignore[no-untyped-def]
    return ordered(x, axis, descending).astype(np.int64)


@argsort.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 4 * results[0].size * operands[0].shape[attrs["axis"]]


@argsort.decomposition
def _(b, x, *, axis, descending):  # type: ignore[no-untyped-def]
    x = to_last(b, b.cast(x, dtype=u8) if x.dtype.is_bool else x, axis)
    return from_last(b, _first(b, _ranks(b, x, descending), x.shape[-1]), axis)


def _ranks(b, x, descending):  # type: ignore[no-untyped-def]
    """How many elements of the last axis come before each, as i32."""
    one, other = b.unsqueeze(x, axes=(-1,)), b.unsqueeze(x, axes=(-2,))
    first, second = (one, other) if descending else (other, one)
    before, equal = b.less(first, second), b.equal(one, other)
    if x.dtype.is_float:
        nan_first, nan_second = b.isnan(first), b.isnan(second)
        before = b.logical_or(before, b.logical_and(nan_second, b.logical_not(nan_first)))
        equal = b.logical_or(equal, b.logical_and(nan_first, nan_second))
    places = b.range(stop=x.shape[-1], dtype=i32)
    earlier = b.less(places, b.unsqueeze(places, axes=(1,)))
    comes_before = b.logical_or(before, b.logical_and(equal, earlier))
    return b.reduce_sum(b.cast(comes_before, dtype=i32), axes=(-1,))


def _first(b, ranks, count):  # type: ignore[no-untyped-def]
    """The places of ranks 0, 1, ... count - 1 along the last axis, as i64."""
    wanted = b.unsqueeze(b.range(stop=count, dtype=i32), axes=(1,))
    places = b.range(stop=ranks.shape[-1], dtype=i32)
    found = b.where(b.equal(b.unsqueeze(ranks, axes=(-2,)), wanted), places, 0)
    return b.cast(b.reduce_sum(found, axes=(-1,)), dtype=i64)


@op(along="axis")
def topk(x: TensorType, *, k: Annotated[int, AtLeast(0)], axis: int = -1, largest: bool = True) -> tuple[TensorType, TensorType]:
    """The k largest elements along an axis (or smallest), the first first: values, and indices as i64.

    Of equal elements the earlier comes first; NaN is the largest. Without a kernel of its own, k up to 64 take k rounds over the
    n elements, O(n k); more take O(n^2), as `argsort` does. ONNX TopK, sorted.
    """
    at = axis_index(axis, x.rank)
    size = x.shape[at]
    at_least(size, k, f"cannot take {k} elements of axis {axis} of {x}")
    shape = (*x.shape[:at], k, *x.shape[at + 1:])
    return x.with_shape(shape), TensorType(i64, shape)


@topk.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)}


@topk.reference
def _(x, *, k, axis, largest):  # type: ignore[no-untyped-def]
    indices = np.take(ordered(x, axis, largest), np.arange(k), axis=axis)
    return np.take_along_axis(x, indices, axis), indices.astype(np.int64)


@topk.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    x = operands[0]
    size = x.shape[attrs["axis"]]
    return 4 * x.size * attrs["k"] if attrs["k"] <= ROUNDS else 2 * x.size * (size + attrs["k"])


@topk.decomposition
def _(b, x, *, k, axis, largest):  # type: ignore[no-untyped-def]
    keys = to_last(b, b.cast(x, dtype=u8) if x.dtype.is_bool else x, axis)
    size = keys.shape[-1]
    if k and k <= ROUNDS and not (isinstance(size, int) and size <= 4 * k):
        indices = _rounds(b, keys, k, largest)
    else:
        indices = _first(b, _ranks(b, keys, largest), k)
    indices = from_last(b, indices, axis)
    return b.take_along_axis(x, indices, axis=axis), indices


def _rounds(b, keys, k, largest):  # type: ignore[no-untyped-def]
    """The places of the k first: each round takes the first of those that are left."""
    dtype = keys.dtype
    low, high = (-np.inf, np.inf) if dtype.is_float else (int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max))
    worst, reduce = b.constant(low if largest else high, dtype), b.reduce_max if largest else b.reduce_min
    missing = b.isnan(keys) if dtype.is_float else None
    if missing is not None and not largest:  # NaN is the largest, so the last: infinity stands for it while others are left
        keys = b.where(missing, worst, keys)
    places, left, found = b.range(stop=keys.shape[-1]), None, []
    for _ in range(k):
        best = reduce(keys if left is None else b.where(left, keys, worst), axes=(-1,), keepdims=True)
        candidates = b.equal(keys, best)
        if missing is not None and largest:
            candidates = b.logical_or(candidates, b.logical_and(missing, b.isnan(best)))
        candidates = candidates if left is None else b.logical_and(candidates, left)
        score = b.cast(candidates, dtype=u8)
        if missing is not None and not largest:
            score = b.where(b.logical_and(candidates, b.logical_not(missing)), b.constant(2, u8), score)
        found.append(b.argmax(score, axis=-1, keepdims=True))
        taken = b.not_equal(places, found[-1])
        left = taken if left is None else b.logical_and(left, taken)
    return b.concat(*found, axis=-1)
