"""Rows as 8-bit integers, products of such, and weights as integers of few bits, in blocks."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from ..ir.attributes import AtLeast
from ..ir.dims import DimLike
from ..ir.dtypes import f32, f64, i8, i32, u8
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import require_float, require_rank, same
from ..ir.types import TensorType
from .linear import affine_labels

LARGEST = 127  # of |q|: -128 stays unused, so that -x is quantised to -q
BITS = (2, 4, 8)  # of a stored number
AT_ONCE = 1 << 18  # numbers quantised together, so that what is between stays in a cache
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


@op(opaque=True)
def dequantize(packed: TensorType, scale: TensorType, zero: TensorType | None = None, *, depth: Annotated[int, AtLeast(1)],
               block: Annotated[int, AtLeast(1)], bits: int = 8) -> TensorType:
    """A weight [out, depth] from integers of 2, 4 or 8 bits: w[i, k] = (q[i, k] - zero[i, k // block]) scale[i, k // block].

    packed u8 (i8 for signed numbers of 8 bits) [out, depth bits / 8, rounded up]: a byte has 8 / bits numbers of a row that
    follow each other, the first one in its lowest bits. scale and zero, of one floating-point type, which is the result's, are
    one number for all, or [out, blocks], where blocks = depth / block, rounded up; zero is 0 if left out. A block as long as a
    row: one scale an output channel. ONNX DequantizeLinear, and MatMulNBits of com.microsoft. Products read such a weight as it
    is stored.
    """
    require_rank(packed, 2, "packed")
    require_float(scale)
    if bits not in BITS:
        raise RuleError(f"a number has 2, 4 or 8 bits, not {bits}")
    if packed.dtype != u8 and not (packed.dtype == i8 and bits == 8):
        raise RuleError(f"packed must be u8, or i8 for numbers of 8 bits, got {packed}")
    rows, blocks = packed.shape[0], -(-depth // block)
    same(packed.shape[1], -(-depth * bits // 8), f"a row has {depth} numbers of {bits} bits")
    for name, found in (("scale", scale), ("zero", zero)):
        if found is not None and (found.rank not in (0, 2) or found.dtype != scale.dtype):
            raise RuleError(f"{name} must be {scale.dtype}[out, {blocks}] or one number, got {found}")
        if found is not None and found.rank == 2:
            same(found.shape[0], rows, f"{name} has a row for each of packed")
            same(found.shape[1], blocks, f"{name} has a column for each block of {block} numbers")
    return scale.with_shape((rows, depth))


@dequantize.reference
def _(packed, scale, zero, *, depth, block, bits):  # type: ignore[no-untyped-def]
    if bits == 8:
        q = packed
    else:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        q = ((packed[..., None] >> shifts) & np.uint8(2**bits - 1)).reshape(len(packed), -1)
    q = q[:, :depth].astype(scale.dtype)

    def of_each(x):  # type: ignore[no-untyped-def]
        return x if x.ndim == 0 or x.shape[1] == 1 else np.repeat(x, block, axis=1)[:, :depth]

    return (q if zero is None else q - of_each(zero)) * of_each(scale)


@dequantize.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return (1 if operands[2] is None else 2) * results[0].size


@dequantize.decomposition
def _(b, packed, scale, zero, *, depth, block, bits):  # type: ignore[no-untyped-def]
    rows, whole = packed.type.shape
    q, blocks = packed, -(-depth // block)
    if bits < 8:
        whole *= 8 // bits
        parts = [b.mod(b.floor_div(packed, 2**at) if at else packed, 2**bits) for at in range(0, 8, bits)]
        q = b.reshape(b.concat(*[b.unsqueeze(p, axes=(2,)) for p in parts], axis=2), shape=(rows, whole))
    after = blocks * block - whole
    if after > 0:
        q = b.pad(q, before=(0, 0), after=(0, after), value=0.0)
    elif after < 0:
        q = b.slice(q, starts=(0,), stops=(blocks * block,), axes=(1,))
    q = b.reshape(b.cast(q, dtype=scale.dtype), shape=(rows, blocks, block))

    def of_each(x):  # type: ignore[no-untyped-def]
        return b.unsqueeze(x, axes=(2,)) if x.type.rank else x

    q = q if zero is None else b.sub(q, of_each(zero))
    made = b.reshape(b.mul(q, of_each(scale)), shape=(rows, blocks * block))
    return made if depth == blocks * block else b.slice(made, starts=(0,), stops=(depth,), axes=(1,))


@op(opaque=True)
def quantize_blocks(x: TensorType, *, block: Annotated[int, AtLeast(1)] = 32, bits: int = 4) -> tuple[TensorType, TensorType]:
    """A weight [out, in] as integers in blocks along `in`: packed u8 and scale f32[out, blocks], as `dequantize` reads them.

    The zero point is 2^(bits - 1). For each block m is its element of the largest magnitude (the negative one of two),
    scale = m / -2^(bits - 1), and q = x / scale rounded to nearest even + 2^(bits - 1), at most 2^bits - 1: m itself is q = 0, so
    that the range is used to its end. A block with nothing above 1e-35 has scale 0. Computed in f32 even where the reference
    computes in f64, so that q is the same integer everywhere. A NaN or an infinity makes the scale one.
    """
    require_float(x)
    if x.rank != 2:
        raise RuleError(f"x must be a weight [out, in], got {x}")
    if x.dtype == f64:
        raise RuleError(f"f64 is not quantised, got {x}; cast it to f32")
    if bits not in BITS:
        raise RuleError(f"a number has 2, 4 or 8 bits, not {bits}")
    rows, depth = x.shape
    if not isinstance(depth, int):
        raise RuleError(f"the number of columns must be known, got {x}")
    return TensorType(u8, (rows, -(-depth * bits // 8))), TensorType(f32, (rows, -(-depth // block)))


@quantize_blocks.reference
def _(x, *, block, bits):  # type: ignore[no-untyped-def]
    step = max(1, AT_ONCE // max(1, x.shape[1]))
    parts = [_in_blocks(x[i:i + step], block, bits) for i in range(0, max(1, len(x)), step)]
    return np.concatenate([packed for packed, _ in parts]), np.concatenate([scale for _, scale in parts])


def _in_blocks(x: np.ndarray, block: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of `quantize_blocks`."""
    rows, depth = x.shape
    blocks, middle, many = -(-depth // block), 2 ** (bits - 1), 8 // bits
    x = np.pad(x.astype(np.float32), ((0, 0), (0, blocks * block - depth))).reshape(rows, blocks, block)
    low, high = (f(x, axis=2, initial=0) for f in (np.min, np.max))
    peak = np.where(-low >= high, low, high)
    with np.errstate(all="ignore"):
        scale = np.where(np.abs(peak) < np.float32(SMALLEST), np.float32(0), peak * np.float32(-1 / middle))
        q = np.rint(x / scale[..., None])
        q = np.where(np.abs(q) <= 2 * middle, q, 0) + middle
    q = np.minimum(q, 2**bits - 1).astype(np.uint8).reshape(rows, blocks * block)[:, :depth]
    q = np.pad(q, ((0, 0), (0, -depth % many))).reshape(rows, -(-depth // many), many)
    packed = q[..., 0]
    for i in range(1, many):
        packed = packed | q[..., i] << np.uint8(i * bits)
    return packed, scale


@quantize_blocks.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 6 * operands[0].size


@quantize_blocks.decomposition
def _(b, x, *, block, bits):  # type: ignore[no-untyped-def]
    rows, depth = x.shape
    blocks, middle, many = -(-depth // block), 2 ** (bits - 1), 8 // bits
    x = b.pad(b.cast(x, dtype=f32), before=(0, 0), after=(0, blocks * block - depth), value=0.0)
    x = b.reshape(x, shape=(rows, blocks, block))
    low = b.minimum(b.reduce_min(x, axes=(2,), keepdims=True), 0.0)
    high = b.maximum(b.reduce_max(x, axes=(2,), keepdims=True), 0.0)
    peak = b.where(b.greater_or_equal(b.neg(low), high), low, high)
    scale = b.where(b.less(b.abs(peak), SMALLEST), 0.0, b.mul(peak, -1.0 / middle))
    q = b.round(b.div(x, scale))
    q = b.add(b.where(b.less_or_equal(b.abs(q), float(2 * middle)), q, 0.0), float(middle))
    q = b.reshape(b.cast(b.minimum(q, float(2**bits - 1)), dtype=i32), shape=(rows, blocks * block))
    q = b.slice(q, starts=(0,), stops=(depth,), axes=(1,))
    size = -(-depth // many)
    q = b.reshape(b.pad(q, before=(0, 0), after=(0, size * many - depth), value=0.0), shape=(rows, size, many))
    packed = None
    for i in range(many):
        part = b.mul(b.reshape(b.slice(q, starts=(i,), stops=(i + 1,), axes=(2,)), shape=(rows, size)), 2 ** (i * bits))
        packed = part if packed is None else b.add(packed, part)
    return b.cast(packed, dtype=u8), b.reshape(scale, shape=(rows, blocks))
