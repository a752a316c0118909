"""Ops of com.microsoft on 8-bit integers: widened, computed in f32, and rounded again, which is what they are defined to give."""

from __future__ import annotations

from typing import Any

from ....ir.dtypes import f32
from ..node import OnnxNode
from ..registry import MICROSOFT, importer
from .language import t
from .quantization import rounded, scaled_product, widened


@importer("QLinearAdd", domain=MICROSOFT)
def add(node: OnnxNode, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any,
        y_zero: Any = None) -> Any:
    return rounded(widened(a, a_scale, a_zero) + widened(b, b_scale, b_zero), y_scale, y_zero)


@importer("QLinearMul", domain=MICROSOFT)
def mul(node: OnnxNode, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any,
        y_zero: Any = None) -> Any:
    return rounded(widened(a, a_scale, a_zero) * widened(b, b_scale, b_zero), y_scale, y_zero)


@importer("QLinearSigmoid", domain=MICROSOFT)
def sigmoid(node: OnnxNode, x: Any, x_scale: Any, x_zero: Any, y_scale: Any, y_zero: Any = None) -> Any:
    return rounded(t.sigmoid(widened(x, x_scale, x_zero)), y_scale, y_zero)


@importer("QLinearLeakyRelu", domain=MICROSOFT)
def leaky_relu(node: OnnxNode, x: Any, x_scale: Any, x_zero: Any, y_scale: Any, y_zero: Any = None) -> Any:
    x = widened(x, x_scale, x_zero)
    return rounded(t.where(x >= 0, x, x * node.attribute("alpha", 0.01)), y_scale, y_zero)


@importer("QLinearSoftmax", domain=MICROSOFT)
def softmax(node: OnnxNode, x: Any, x_scale: Any, x_zero: Any, y_scale: Any, y_zero: Any = None) -> Any:
    """Along one axis; as defined before opset 13, along all from that axis on."""
    axis, shape = node.attribute("axis", -1) % x.rank, x.shape
    x = widened(x, x_scale, x_zero)
    if node.attribute("opset", 13) < 13:
        x, axis = t.reshape(x, shape=(*shape[:axis], -1)), axis
    return rounded(t.reshape(t.softmax(x, axis=axis), shape=shape), y_scale, y_zero)


@importer("QLinearConcat", domain=MICROSOFT)
def concat(node: OnnxNode, y_scale: Any, y_zero: Any, *parts: Any) -> Any:
    widths = [widened(*parts[i:i + 3]) for i in range(0, len(parts), 3)]
    return rounded(t.concat(*widths, axis=node.attribute("axis")), y_scale, y_zero)


@importer("QGemm", domain=MICROSOFT)
def gemm(node: OnnxNode, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, bias: Any = None,
         y_scale: Any = None, y_zero: Any = None) -> Any:
    """f32 where no scale for the result is given. The bias is of i32, in units of the product's scale."""
    a = t.permute(a, 1, 0) if node.attribute("transA", 0) else a
    b = t.permute(b, 1, 0) if node.attribute("transB", 0) else b
    alpha = node.attribute("alpha", 1.0)
    product = scaled_product(a, b, a_scale, b_scale, a_zero, b_zero)
    product = product if alpha == 1.0 else product * alpha
    if bias is not None:
        unit = t.reshape(a_scale, shape=()) * (t.reshape(b_scale, shape=()) if b_scale.shape == (1,) else b_scale)
        product = product + t.cast(bias, dtype=f32) * (unit if alpha == 1.0 else unit * alpha)
    return product if y_scale is None else rounded(product, y_scale, y_zero)
