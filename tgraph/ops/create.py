"""Tensors that depend on sizes alone."""

from __future__ import annotations

import numpy as np

from ..ir.dims import DimLike
from ..ir.dtypes import DType, f32, i64
from ..ir.registry import op
from ..ir.rules import at_least
from ..ir.types import TensorType
from .numbers import require_number


@op
def range(*, stop: DimLike, start: DimLike = 0, dtype: DType = i64) -> TensorType:
    """The numbers start, start + 1, ..., stop - 1, as tensor [stop - start]. ONNX Range."""
    at_least(stop, start, f"the length of a range from {start} to {stop} cannot be negative")
    return TensorType(dtype, (stop - start,))


@range.reference
def _(*, stop, start, dtype):  # type: ignore[no-untyped-def]
    return np.arange(start, stop).astype(dtype.numpy)


@op
def full(*, shape: tuple[DimLike, ...], value: bool | int | float, dtype: DType = f32) -> TensorType:
    """A tensor of one value. ONNX ConstantOfShape."""
    require_number(value, dtype, "value")
    return TensorType(dtype, shape)


@full.reference
def _(*, shape, value, dtype):  # type: ignore[no-untyped-def]
    return np.full(shape, value, dtype.numpy)


@op
def dim_size(*, size: DimLike, dtype: DType = i64) -> TensorType:
    """A size as a number (rank 0): `x / x.shape[1]`. One that the type cannot hold wraps around. ONNX Shape and Gather."""
    return TensorType(dtype)


@dim_size.reference
def _(*, size, dtype):  # type: ignore[no-untyped-def]
    return np.asarray(size, np.int64).astype(dtype.numpy)
