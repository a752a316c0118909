"""Reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dims import DimLike
from ..ir.dtypes import i64
from ..ir.errors import RuleError
from ..ir.registry import Op, op
from ..ir.rules import axes_from_end, axis_from_end, axis_index, require_float
from ..ir.types import TensorType


def _numeric(t: TensorType) -> None:
    if t.dtype.is_bool:
        raise RuleError(f"needs numbers, got {t}; cast it first")


def reduced_shape(x: TensorType, axes: object, keepdims: bool) -> tuple[DimLike, ...]:
    """The shape that is left when `axes` (None: all) are reduced."""
    gone = {a % x.rank for a in axes_from_end(axes, x.rank)} if x.rank else set()
    return tuple(1 if i in gone else d for i, d in enumerate(x.shape) if keepdims or i not in gone)


def sum_dtype(x: np.ndarray) -> np.dtype[Any]:
    """Type that sums are kept in: an integer's own, f64 at least for floats. NumPy's sum down a column is one chain."""
    return np.promote_types(x.dtype, np.float64) if x.dtype.kind == "f" else x.dtype


def _reduction(kind: str, doc: str, numpy: Callable[..., Any], check: Callable[[TensorType], None]) -> Op:
    def rule(x: TensorType, *, axes: tuple[int, ...] | None = None, keepdims: bool = False) -> TensorType:
        check(x)
        return x.with_shape(reduced_shape(x, axes, keepdims))

    rule.__doc__, rule.__module__ = doc, __name__
    new: Op = op(name=f"reduce_{kind}", along="axes", reduces=kind)(rule)

    @new.reference
    def _(x, *, axes, keepdims):  # type: ignore[no-untyped-def]
        return numpy(x, axis=axes, keepdims=keepdims)

    @new.canonicalize
    def _(types, attrs):  # type: ignore[no-untyped-def]
        return {"axes": axes_from_end(attrs["axes"], types[0].rank)}

    @new.cost
    def _(operands, results, attrs):  # type: ignore[no-untyped-def]
        return operands[0].size

    return new


def _sum(x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    return np.asarray(np.sum(x, axis=axis, keepdims=keepdims, dtype=sum_dtype(x)))


def _mean(x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    count = math.prod(x.shape[a] for a in (range(x.ndim) if axis is None else axis))
    return np.asarray(_sum(x, axis, keepdims) / np.float64(count))  # NaN over nothing; np.mean would warn


def _prod(x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    return np.asarray(np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype))


def _largest(x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    start = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return np.asarray(np.max(x, axis=axis, keepdims=keepdims, initial=start))


def _smallest(x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    start = np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max
    return np.asarray(np.min(x, axis=axis, keepdims=keepdims, initial=start))


_AXES = "\n\naxes: one or several, None for all; keepdims keeps them as 1. "

_reduction("sum", f"Sum over axes; 0 over nothing.{_AXES}ONNX ReduceSum.", _sum, _numeric)
_reduction("mean", f"Mean over axes: sum / count; NaN over nothing.{_AXES}ONNX ReduceMean.", _mean,
           lambda t: require_float(t))
_reduction("max", f"Largest over axes; NaN if one is; the type's lowest over nothing.{_AXES}ONNX ReduceMax.",
           _largest, _numeric)
_reduction("min", f"Smallest over axes; NaN if one is; the type's highest over nothing.{_AXES}ONNX ReduceMin.",
           _smallest, _numeric)
_reduction("prod", f"Product over axes; 1 over nothing.{_AXES}ONNX ReduceProd.", _prod, _numeric)


@op(along="axis")
def argmax(x: TensorType, *, axis: int = -1, keepdims: bool = False) -> TensorType:
    """Index of the first largest element along an axis, as i64; NaN is the largest, and over nothing it is 0. ONNX ArgMax."""
    _numeric(x)
    return TensorType(i64, reduced_shape(x, (axis_index(axis, x.rank),), keepdims))


@argmax.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)}


@argmax.reference
def _(x, *, axis, keepdims):  # type: ignore[no-untyped-def]
    if not x.shape[axis]:
        return np.zeros(np.sum(x, axis=axis, keepdims=keepdims).shape, np.int64)
    return np.argmax(x, axis=axis, keepdims=keepdims)


@argmax.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return operands[0].size


@op(along="axis")
def cumsum(x: TensorType, *, axis: int = -1, exclusive: bool = False) -> TensorType:
    """Running sum along an axis; exclusive leaves the element itself out. ONNX CumSum."""
    _numeric(x)
    axis_index(axis, x.rank)
    return x


@cumsum.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)}


@cumsum.reference
def _(x, *, axis, exclusive):  # type: ignore[no-untyped-def]
    total = np.cumsum(x, axis=axis, dtype=sum_dtype(x))
    if exclusive:  # total - x would be NaN at an infinity
        total = np.roll(total, 1, axis)
        np.moveaxis(total, axis, 0)[:1] = 0
    return total


@cumsum.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return operands[0].size
