"""Ops of com.microsoft, which ONNX Runtime's optimiser writes."""

from __future__ import annotations

from typing import Any

from ..node import OnnxNode, UnsupportedError
from ..registry import MICROSOFT, importer
from .language import t


@importer("Gelu", domain=MICROSOFT)
def gelu(node: OnnxNode, x: Any) -> Any:
    return t.gelu(x)


@importer("BiasGelu", domain=MICROSOFT)
def bias_gelu(node: OnnxNode, x: Any, bias: Any) -> Any:
    return t.gelu(x + bias)


@importer("FastGelu", domain=MICROSOFT)
def fast_gelu(node: OnnxNode, x: Any, bias: Any = None) -> Any:
    return t.gelu(x if bias is None else x + bias, approximate="tanh")


@importer("QuickGelu", domain=MICROSOFT)
def quick_gelu(node: OnnxNode, x: Any) -> Any:
    alpha = node.attribute("alpha", 1.702)
    return t.quick_gelu(x) if abs(alpha - 1.702) < 1e-6 else x * t.sigmoid(x * alpha)


@importer("FusedMatMul", domain=MICROSOFT)
def fused_matmul(node: OnnxNode, x: Any, y: Any) -> Any:
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        raise UnsupportedError("transposes batches")
    x = t.swapaxes(x, -1, -2) if node.attribute("transA", 0) else x
    y = t.swapaxes(y, -1, -2) if node.attribute("transB", 0) else y
    alpha = node.attribute("alpha", 1.0)
    return t.matmul(x, y) if alpha == 1.0 else t.matmul(x, y) * alpha


@importer("LayerNormalization", "SimplifiedLayerNormalization")
def standard_norm(node: OnnxNode, x: Any, weight: Any, bias: Any = None) -> Any:
    """ONNX Runtime writes these in the standard's domain."""
    if node.op == "LayerNormalization":
        from .normalization import layer_norm

        return layer_norm(node, x, weight, bias)
    return t.rms_norm(x, weight, epsilon=node.attribute("epsilon", 1e-5))


@importer("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(node: OnnxNode, x: Any, skip: Any, weight: Any, beta: Any = None, bias: Any = None) -> Any:
    total = x + skip if bias is None else x + bias + skip
    y = t.layer_norm(total, weight, beta, epsilon=node.attribute("epsilon", 1e-12))
    return (y, None, None, total)[:max(node.results, 1)]


@importer("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_rms_norm(node: OnnxNode, x: Any, skip: Any, weight: Any, bias: Any = None) -> Any:
    total = x + skip if bias is None else x + bias + skip
    return (t.rms_norm(total, weight, epsilon=node.attribute("epsilon", 1e-12)), None, None, total)[:max(node.results, 1)]


@importer("SimplifiedLayerNormalization", domain=MICROSOFT)
def simplified_layer_norm(node: OnnxNode, x: Any, weight: Any) -> Any:
    return t.rms_norm(x, weight, epsilon=node.attribute("epsilon", 1e-5))
