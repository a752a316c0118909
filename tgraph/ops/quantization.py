"""Rows as 8-bit integers, and products of such."""

from __future__ import annotations

import numpy as np

from ..ir.dims import DimLike
from ..ir.dtypes import f32, f64, i8, i32, u8
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import require_float, require_rank, same
from ..ir.types import TensorType
from .linear import affine_labels

LARGEST = 127  # of |q|: -128 stays unused, so that -x is quantised to -q
SMALLEST = 1e-35  # a row with nothing larger counts as zero: 127 over it leaves the range of f32


@op(along=-1)
def quantize_rows(x: TensorType) -> tuple[TensorType, TensorType]:
    """Rows as 8-bit integers and one factor: q i8[..., K] and scale f32[..., 1] with x = scale q, nearly.

    For each row along the last axis, peak = max |x|, scale = peak / 127, q = x (127 / peak) rounded to nearest even; a row
    of zeros (below 1e-35) gives q = 0. Symmetric, without a zero point: products need no correction. Computed in f32
    even where the reference computes in f64, so that q is the same integer everywhere. A NaN or an infinity makes q 0 and
    the scale NaN or infinite, and so the row of a product NaN. ONNX DynamicQuantizeLinear is the same for a whole tensor.
    """
    require_float(x)
    require_rank(x, 1, "x")
    if x.dtype == f64:
        raise RuleError(f"f64 is not quantised, got {x}; cast it to f32")
    return x.with_dtype(i8), TensorType(f32, (*x.shape[:-1], 1))


@quantize_rows.reference
def _(x):  # type: ignore[no-untyped-def]
    x = x.astype(np.float32)
    peak = np.abs(x).max(axis=-1, keepdims=True, initial=0)
    inverse = np.where(peak < np.float32(SMALLEST), np.float32(0), np.float32(LARGEST) / peak)
    return np.nan_to_num(np.rint(x * inverse), nan=0.0).astype(np.int8), peak / np.float32(LARGEST)


@quantize_rows.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 4 * operands[0].size


@quantize_rows.decomposition
def _(b, x):  # type: ignore[no-untyped-def]
    x = b.cast(x, dtype=f32)
    peak = b.maximum(b.reduce_max(b.abs(x), axes=(-1,), keepdims=True), 0.0)
    inverse = b.where(b.less(peak, SMALLEST), 0.0, b.div(float(LARGEST), peak))
    return b.cast(b.round(b.mul(x, inverse)), dtype=i8), b.div(peak, float(LARGEST))


@op(along=-1)
def integer_linear(x: TensorType, weight: TensorType) -> TensorType:
    """Product of 8-bit integers with sums in i32: y = x W^T on the last axis.

    x i8 or u8 [..., in], weight i8 [out, in]; y i32 [..., out]. Exact while `in` is below 66,000, beyond it sums wrap.
    ONNX MatMulInteger.
    """
    require_rank(x, 1, "x")
    if x.dtype not in (i8, u8) or weight.dtype != i8:
        raise RuleError(f"x must be i8 or u8 and weight i8, got {x} and {weight}")
    if weight.rank != 2:
        raise RuleError(f"weight must be [out, in], got {weight}")
    same(x.shape[-1], weight.shape[1], "the last axis of x must be the `in` axis of weight [out, in]")
    return TensorType(i32, (*x.shape[:-1], weight.shape[0]))


@integer_linear.contraction
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return affine_labels(result.rank)


@integer_linear.reference
def _(x, weight):  # type: ignore[no-untyped-def]
    # exact in f64, where NumPy has a fast product
    return (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64).astype(np.int32)


@integer_linear.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    products: DimLike = 2 * results[0].size * operands[0].shape[-1]
    return products


@integer_linear.decomposition
def _(b, x, weight):  # type: ignore[no-untyped-def]
    return b.linear(b.cast(x, dtype=i32), b.cast(weight, dtype=i32))
