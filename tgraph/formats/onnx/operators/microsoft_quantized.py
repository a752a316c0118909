"""Products of com.microsoft with weights of few bits."""

from __future__ import annotations

from typing import Any

from ....ir.dtypes import f32, u8
from ..node import OnnxNode, UnsupportedError
from ..registry import MICROSOFT, importer
from .elementwise import converted
from .language import t
from .microsoft import embed_layer_norm
from .quantization import dequantize, quantize, quantize_dynamically, scaled_product

importer("DequantizeLinear", domain=MICROSOFT)(dequantize)
importer("QuantizeLinear", domain=MICROSOFT)(quantize)


@importer("QEmbedLayerNormalization", domain=MICROSOFT)
def quantized_embed_layer_norm(node: OnnxNode, ids: Any, segments: Any, words: Any, positions: Any, kinds: Any, weight: Any,
                               bias: Any, mask: Any, *parameters: Any) -> Any:
    """Tables and parameters of the norm as 8-bit integers: five scales, then five zero points."""
    numbers: list[Any] = []
    for integers, scale, zero in zip((words, positions, kinds, weight, bias), parameters[:5], parameters[5:]):
        shifted = None if integers is None else t.cast(integers, dtype=scale.dtype) - t.cast(zero, dtype=scale.dtype)
        numbers.append(None if shifted is None else shifted * scale)
    return embed_layer_norm(node, ids, segments, *numbers, mask)


@importer("MatMulNBits", domain=MICROSOFT, limits="of 2, 4 and 8 bits, without g_idx")
def matmul_of_bits(node: OnnxNode, x: Any, weight: Any, scales: Any, zero: Any = None, groups: Any = None,
                   bias: Any = None) -> Any:
    """x times a weight [N, K] of 2, 4 or 8 bits, in blocks along K that have a scale and a zero point each."""
    bits, block, rows, columns = (node.attribute(n, *d) for n, d in (("bits", (4,)), ("block_size", ()), ("N", ()), ("K", ())))
    if bits not in (2, 4, 8) or groups is not None or node.attribute("weight_prepacked", 0):
        raise UnsupportedError(f"has weights of {bits} bits, in groups of their own or packed for a device; tgraph takes blocks "
                               "of 2, 4 and 8 bits")
    blocks = -(-columns // block)
    scales = converted(t.reshape(scales, shape=(rows, blocks)), x.dtype)
    if zero is None:
        zero = float(2 ** (bits - 1))
    else:
        zero = t.reshape(zero, shape=(rows, -1))
        zero = converted(zero if zero.dtype != u8 else _unpacked(zero, bits, blocks), x.dtype)
    packed, size = t.reshape(weight, shape=(rows, -1)), -(-columns * bits // 8)
    if packed.shape[1] != size:  # the last block is not full
        packed = packed[:, :size]
    return t.linear(x, t.dequantize(packed, scales, zero, depth=columns, block=block, bits=bits), bias)


def _unpacked(x: Any, bits: int, count: int) -> Any:
    """Bytes [N, ...] as `count` numbers a row, the lowest bits first."""
    if bits == 8:
        return x
    many = 2**bits
    parts = [t.mod(t.floor_div(x, many**i) if i else x, many) for i in range(8 // bits)]
    whole = t.reshape(t.stack(parts, axis=-1), shape=(x.shape[0], -1))
    return whole[:, :count]


@importer("MatMulIntegerToFloat", domain=MICROSOFT)
def integer_matmul_to_float(node: OnnxNode, x: Any, y: Any, x_scale: Any, y_scale: Any, x_zero: Any = None, y_zero: Any = None,
                            bias: Any = None) -> Any:
    product = scaled_product(x, y, x_scale, y_scale, x_zero, y_zero)
    return product if bias is None else product + bias


@importer("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_matmul(node: OnnxNode, x: Any, y: Any, y_scale: Any, y_zero: Any = None, bias: Any = None) -> Any:
    """x rounded to 8 bits over the range that it has, times integers."""
    rounded, scale, zero = quantize_dynamically(node, t.cast(x, dtype=f32) if x.dtype != f32 else x)
    product = scaled_product(rounded, y, scale, y_scale, zero, y_zero)
    return product if bias is None else product + bias
