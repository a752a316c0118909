"""Ops of com.microsoft, which ONNX Runtime's optimiser writes."""

from __future__ import annotations

from typing import Any

from ....ir.dtypes import i32
from ..node import OnnxNode, UnsupportedError
from ..registry import MICROSOFT, importer
from .convolution import convolution
from .language import t
from .matmul import gemm
from .normalization import layer_norm


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


@importer("FusedMatMul", domain=MICROSOFT, limits="no transposed batches")
def fused_matmul(node: OnnxNode, x: Any, y: Any) -> Any:
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        raise UnsupportedError("transposes batches")
    x = t.swapaxes(x, -1, -2) if node.attribute("transA", 0) else x
    y = t.swapaxes(y, -1, -2) if node.attribute("transB", 0) else y
    alpha = node.attribute("alpha", 1.0)
    return t.matmul(x, y) if alpha == 1.0 else t.matmul(x, y) * alpha


ACTIVATIONS = {"Relu": t.relu, "Tanh": t.tanh, "Sigmoid": t.sigmoid}


def _activated(node: OnnxNode, x: Any) -> Any:
    """What a fused node ends in."""
    name, numbers = node.attribute("activation", ""), node.attribute("activation_params", [])
    if name == "LeakyRelu":
        return t.leaky_relu(x, alpha=numbers[0] if numbers else node.attribute("activation_alpha", 0.01))
    if name == "Clip":
        return t.clip(x, *numbers)
    if name == "HardSigmoid":
        alpha, beta = numbers or (0.2, 0.5)
        return t.clip(x * alpha + beta, 0.0, 1.0)
    if name and name not in ACTIVATIONS:
        raise UnsupportedError(f"ends in {name!r}; tgraph knows {', '.join(ACTIVATIONS)}, LeakyRelu, Clip and HardSigmoid there")
    return ACTIVATIONS[name](x) if name else x


@importer("FusedGemm", domain=MICROSOFT)
def fused_gemm(node: OnnxNode, x: Any, y: Any, c: Any = None) -> Any:
    return _activated(node, gemm(node, x, y, c))


@importer("FusedConv", domain=MICROSOFT)
def fused_convolution(node: OnnxNode, x: Any, weight: Any, bias: Any = None, added: Any = None) -> Any:
    y = convolution(node, x, weight, bias)
    return _activated(node, y if added is None else y + added)


@importer("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_norm(node: OnnxNode, ids: Any, segments: Any, words: Any, positions: Any, kinds: Any, weight: Any, bias: Any,
                     mask: Any = None, places: Any = None) -> Any:
    """The sum of a word's, a position's and a segment's vector, normalised; how many words a mask has, as its length."""
    rows = positions[:ids.shape[1]] if places is None else t.gather(positions, places, axis=0)
    total = t.gather(words, ids, axis=0) + rows
    if segments is not None and kinds is not None:
        total = total + t.gather(kinds, segments, axis=0)
    y = t.layer_norm(total, weight, bias, epsilon=node.attribute("epsilon", 1e-12))
    count = None
    if node.wants(1):
        zeros = t.full((ids.shape[0],), 0, dtype=i32)
        count = zeros if mask is None else t.cast(t.sum(mask, axis=1), dtype=i32)
    return (y, count, total)[:max(node.results, 1)]


@importer("LayerNormalization", "SimplifiedLayerNormalization")
def standard_norm(node: OnnxNode, x: Any, weight: Any, bias: Any = None) -> Any:
    """ONNX Runtime writes these in the standard's domain."""
    if node.op == "LayerNormalization":
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
