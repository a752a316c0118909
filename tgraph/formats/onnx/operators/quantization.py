"""Numbers stored as 8-bit integers, and products of them."""

from __future__ import annotations

from typing import Any

from ....ir.dtypes import f32, f64, i32, u8
from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .convolution import convolution
from .elementwise import converted
from .language import t


def _along(x: Any, parameter: Any, axis: int) -> Any:
    """A scale or zero point: one number, or one for each place of an axis."""
    if parameter.rank == 0 or parameter.shape == (1,):
        return t.reshape(parameter, shape=())
    if parameter.rank == 1:
        at = axis % x.rank
        return t.reshape(parameter, shape=tuple(parameter.shape[0] if i == at else 1 for i in range(x.rank)))
    return parameter


def _blocks(node: OnnxNode, x: Any, parameter: Any, axis: int) -> Any:
    """A scale or zero point of blocks: each repeated along the axis."""
    size = node.attribute("block_size", 0)
    return t.repeat_interleave(parameter, size, axis=axis) if size and parameter.rank == x.rank else parameter


@importer("DequantizeLinear", since=10, limits="of 8-bit integers and i32")
def dequantize(node: OnnxNode, x: Any, scale: Any, zero: Any = None) -> Any:
    axis = node.attribute("axis", 1)
    scale = _along(x, _blocks(node, x, scale, axis), axis)
    y = t.cast(x, dtype=scale.dtype)
    if zero is not None:
        y = y - t.cast(_along(x, _blocks(node, x, zero, axis), axis), dtype=scale.dtype)
    return converted(y * scale, node.dtype("output_dtype")) if node.attribute("output_dtype", 0) else y * scale


@importer("QuantizeLinear", since=10, limits="to 8-bit integers")
def quantize(node: OnnxNode, x: Any, scale: Any, zero: Any = None) -> Any:
    axis = node.attribute("axis", 1)
    dtype = u8 if zero is None else zero.dtype
    if zero is None and node.attribute("output_dtype", 0):
        dtype = node.dtype("output_dtype")
    if dtype.bits != 8:
        raise UnsupportedError(f"quantises to {dtype}; tgraph has 8-bit integers")
    wide = node.dtype("precision") if node.attribute("precision", 0) else scale.dtype
    x, scale = converted(x, wide), converted(scale, wide)
    y = t.round(x / _along(x, _blocks(node, x, scale, axis), axis))
    if zero is not None:
        y = y + t.cast(_along(x, _blocks(node, x, zero, axis), axis), dtype=y.dtype)
    low, high = (0.0, 255.0) if dtype == u8 else (-128.0, 127.0)
    return t.cast(t.clip(y, low, high), dtype=dtype)


def widened(x: Any, scale: Any, zero: Any = None) -> Any:
    """(x - zero) scale in the type of scale; scale and zero of one element are for all."""
    y = t.cast(x, dtype=scale.dtype)
    y = y if zero is None else y - t.cast(_one(zero), dtype=scale.dtype)
    return y * _one(scale)


def rounded(y: Any, scale: Any, zero: Any = None) -> Any:
    """y / scale + zero, rounded to 8-bit integers of zero's type (None: u8, from 0)."""
    y = t.round(y / t.cast(t.reshape(scale, shape=()), dtype=y.dtype))
    dtype = u8 if zero is None else zero.dtype
    y = y if zero is None else y + t.cast(t.reshape(zero, shape=()), dtype=y.dtype)
    low, high = (0.0, 255.0) if dtype == u8 else (-128.0, 127.0)
    return t.cast(t.clip(y, low, high), dtype=dtype)


@importer("DynamicQuantizeLinear", since=11)
def quantize_dynamically(node: OnnxNode, x: Any) -> Any:
    low, high = t.minimum(t.amin(x), 0.0), t.maximum(t.amax(x), 0.0)
    scale = (high - low) / 255.0
    safe = t.where(scale > 0, scale, 1.0)
    zero = t.clip(t.round(0.0 - low / safe), 0.0, 255.0)
    y = t.clip(t.round(x / safe) + zero, 0.0, 255.0)
    return t.cast(y, dtype=u8), scale, t.cast(zero, dtype=u8)


@importer("MatMulInteger", since=10)
def integer_matmul(node: OnnxNode, x: Any, y: Any, x_zero: Any = None, y_zero: Any = None) -> Any:
    return t.matmul(_shifted(x, x_zero, -1), _shifted(y, y_zero, 0))


def _shifted(x: Any, zero: Any, rows: int) -> Any:
    """x - zero as i32; a zero point of rank 1 is one a row of the left operand, or one a column of the right."""
    wide = t.cast(x, dtype=i32)
    if zero is None:
        return wide
    zero = t.cast(zero, dtype=i32)
    if zero.rank == 1 and zero.shape != (1,):
        zero = zero[:, None] if rows == -1 else zero[None, :]
    elif zero.rank == 1:
        zero = t.reshape(zero, shape=())
    return wide - zero


def scaled_product(x: Any, y: Any, x_scale: Any, y_scale: Any, x_zero: Any = None, y_zero: Any = None) -> Any:
    """(x - x_zero) (y - y_zero), times both scales: f32. Scale and zero point of y are one number, or one a column."""
    sums = t.cast(t.matmul(_shifted(x, _one(x_zero), -1), _shifted(y, y_zero, 0)), dtype=f32)
    return sums * (t.reshape(x_scale, shape=()) * _one(y_scale))


def _one(x: Any) -> Any:
    """A scale or zero point of one element as a number; others as they are."""
    return t.reshape(x, shape=()) if x is not None and x.shape == (1,) else x


@importer("QLinearMatMul", since=10)
def quantized_matmul(node: OnnxNode, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any,
                     y_zero: Any) -> Any:
    product = t.cast(t.matmul(_shifted(a, a_zero, -1), _shifted(b, b_zero, 0)), dtype=f32)
    left = a_scale[:, None] if a_scale.rank == 1 and a_scale.shape != (1,) else t.reshape(a_scale, shape=())
    right = b_scale[None, :] if b_scale.rank == 1 and b_scale.shape != (1,) else t.reshape(b_scale, shape=())
    return rounded(product * t.cast(left, dtype=f32) * t.cast(right, dtype=f32), y_scale, y_zero)


@importer("ConvInteger", since=10, limits="of one and two dimensions")
def integer_convolution(node: OnnxNode, x: Any, weight: Any, x_zero: Any = None, weight_zero: Any = None) -> Any:
    return t.cast(_integers(node, x, weight, x_zero, weight_zero), dtype=i32)


def _integers(node: OnnxNode, x: Any, weight: Any, x_zero: Any, weight_zero: Any) -> Any:
    """The convolution of 8-bit integers less their zero points, in floats that hold every sum."""
    terms = 1
    for size in weight.shape[1:]:
        terms = terms * size if isinstance(size, int) else 2**31
    dtype = f32 if terms * 255 * 255 < 2**24 else f64
    x = t.cast(_shifted(x, None if x_zero is None else t.reshape(x_zero, shape=()), -1), dtype=dtype)
    if weight_zero is not None:
        weight_zero = _along(weight, weight_zero, 0)
    return convolution(node, x, t.cast(_shifted(weight, weight_zero, -1), dtype=dtype))


@importer("QLinearConv", since=10, limits="of one and two dimensions")
def quantized_convolution(node: OnnxNode, x: Any, x_scale: Any, x_zero: Any, weight: Any, weight_scale: Any, weight_zero: Any,
                          y_scale: Any, y_zero: Any, bias: Any = None) -> Any:
    sums = _integers(node, x, weight, x_zero, weight_zero)
    if bias is not None:
        sums = sums + _along(sums, t.cast(bias, dtype=sums.dtype), 1)
    scale = _along(sums, weight_scale, 1) * t.reshape(x_scale, shape=()) / t.reshape(y_scale, shape=())
    y = t.round(t.cast(sums, dtype=f32) * scale) + t.cast(t.reshape(y_zero, shape=()), dtype=f32)
    low, high = (0.0, 255.0) if y_zero.dtype == u8 else (-128.0, 127.0)
    return t.cast(t.clip(y, low, high), dtype=y_zero.dtype)
