"""Tensors that depend on sizes alone."""

from __future__ import annotations

import numpy as np

from ..ir.dims import Dim, DimLike
from ..ir.dtypes import DType, f32, i64
from ..ir.errors import RuleError
from ..ir.registry import attribute_dtype, op
from ..ir.types import TensorType
from .numbers import require_number
from .shape import require_shape


@op
def range(*, stop: DimLike, start: DimLike = 0, dtype: DType = i64) -> TensorType:
    """The numbers start, start + 1, ..., stop - 1, as tensor [stop - start]. ONNX Range."""
    for value in (start, stop):
        if isinstance(value, bool) or not isinstance(value, (int, Dim)):
            raise RuleError(f"start and stop are integers or dims, got {value!r}")
    return TensorType(attribute_dtype(dtype, "dtype"), (stop - start,))


@range.reference
def _(*, stop, start, dtype):  # type: ignore[no-untyped-def]
    return np.arange(start, stop).astype(dtype.numpy)


@op
def full(*, shape: tuple[DimLike, ...], value: float, dtype: DType = f32) -> TensorType:
    """A tensor of one value. ONNX ConstantOfShape."""
    require_number(value, attribute_dtype(dtype, "dtype"), "value")
    return TensorType(dtype, require_shape(shape))


@full.reference
def _(*, shape, value, dtype):  # type: ignore[no-untyped-def]
    return np.full(shape, value, dtype.numpy)


@op
def dim_size(*, size: DimLike, dtype: DType = i64) -> TensorType:
    """A size as a number (rank 0): `x / x.shape[1]`. ONNX Shape and Gather."""
    if isinstance(size, bool) or not isinstance(size, (int, Dim)):
        raise RuleError(f"size is an integer or a dim, got {size!r}")
    return TensorType(attribute_dtype(dtype, "dtype"))


@dim_size.reference
def _(*, size, dtype):  # type: ignore[no-untyped-def]
    return np.asarray(size, dtype.numpy)
