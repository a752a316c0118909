"""One attention op over rows as the projections leave them: q, k, v [B, S, heads * D] to [B, S, heads * D]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tgraph as tg
from benchmarks.harness.job import Feeds
from tgraph.nn.attention import merge_heads, split_heads


def attention_graph(heads: int, head_dim: int, causal: bool, dtype: str = "f32") -> tg.Graph:
    """For tgraph, which reads the heads where they lie."""
    batch, length = tg.dims("B S")
    rows = {"f32": tg.f32, "f16": tg.f16, "bf16": tg.bf16}[dtype][batch, length, heads * head_dim]

    def attend(q: tg.Tensor, k: tg.Tensor, v: tg.Tensor) -> tg.Tensor:
        return merge_heads(tg.attention(*(split_heads(x, heads) for x in (q, k, v)), causal=causal))

    return tg.trace(attend, q=rows, k=rows, v=rows)


class AttentionPeer:
    """A PeerModel."""

    optimizer = None

    def __init__(self, weights: Mapping[str, np.ndarray], heads: int, head_dim: int, causal: bool):
        self.heads, self.head_dim, self.causal = heads, head_dim, causal

    def onnx(self) -> dict[str, Any]:
        """ONNX Runtime's own op, whose blocked kernel it takes where there is no mask, and the standard's."""
        own = self._onnx("MultiHeadAttention", "com.microsoft", num_heads=self.heads, unidirectional=int(self.causal))
        standard = self._onnx("Attention", "", q_num_heads=self.heads, kv_num_heads=self.heads, is_causal=int(self.causal))
        return {"MultiHeadAttention": own, "Attention of opset 23": standard}

    def _onnx(self, op: str, domain: str, **attributes: int) -> Any:
        from onnx import TensorProto, helper

        shape = ["B", "S", self.heads * self.head_dim]
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "qkv"]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
        node = helper.make_node(op, ["q", "k", "v"], ["y"], domain=domain, **attributes)
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(helper.make_graph([node], "attention", inputs, [output]), opset_imports=opsets, ir_version=10)

    def onnx_feeds(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return dict(feeds)

    def openvino(self) -> Any:
        """Its own op: the ONNX standard's would be taken apart."""
        import openvino
        import openvino.opset13 as ops

        order = np.array([0, 2, 1, 3])
        inputs = [ops.parameter([-1, -1, self.heads * self.head_dim], np.float32, name=name) for name in "qkv"]
        for parameter, name in zip(inputs, "qkv"):
            parameter.output(0).tensor.set_names({name})
        heads = [ops.transpose(ops.reshape(x, np.array([0, 0, self.heads, self.head_dim]), True), order) for x in inputs]
        attended = ops.transpose(ops.scaled_dot_product_attention(*heads, causal=self.causal), order)
        return openvino.Model([ops.reshape(attended, np.array([0, 0, self.heads * self.head_dim]), True)], inputs)

    def torch(self, precision: str) -> Any:
        from torch.nn.functional import scaled_dot_product_attention

        def attend(*operands: Any) -> tuple[Any]:
            split = (x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2) for x in operands)
            return (scaled_dot_product_attention(*split, is_causal=self.causal).transpose(1, 2).flatten(2),)

        return attend

    def torch_feeds(self, feeds: Feeds) -> list[np.ndarray]:
        return [feeds[name] for name in "qkv"]
