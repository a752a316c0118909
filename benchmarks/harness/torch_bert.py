"""BERT in PyTorch's functions, as its documentation would have it written for inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.onnx_bert import HIDDEN


class TorchBert:
    """`(input_ids i64 [B, S], mask bool [B, S])` to a tuple of outputs. config, weights, prefix, head as in `bert_onnx`.

    precision: "f32"; "bf16", for weights and all between them; "i8", PyTorch's dynamic quantisation of the products.
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], prefix: str = "", head: str = HIDDEN,
                 precision: str = "f32"):
        import torch

        self.config, self.head = config, head
        self.weights = {n[len(prefix):]: torch.from_numpy(np.array(weights[n])) for n in weights if n.startswith(prefix)}
        for number in range(config["num_hidden_layers"]):  # one product for the three projections, as optimised code has it
            path = f"encoder.layer.{number}.attention.self"
            for kind in ("weight", "bias"):
                parts = [self.weights.pop(f"{path}.{name}.{kind}") for name in ("query", "key", "value")]
                self.weights[f"{path}.qkv.{kind}"] = torch.cat(parts)
        if precision == "bf16":
            self.weights = {name: tensor.to(torch.bfloat16) for name, tensor in self.weights.items()}
        self.quantized = self._quantized() if precision == "i8" else {}

    def __call__(self, input_ids: Any, mask: Any) -> tuple[Any, ...]:
        import torch

        hidden = self._encode(input_ids, mask)
        if self.head == HIDDEN:
            return hidden.float(), torch.tanh(self._linear("pooler.dense", hidden[:, 0])).float()
        keep = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * keep).sum(1) / keep.sum(1).clamp(min=1e-9)
        return (torch.nn.functional.normalize(mean, dim=-1).float(),)

    def _quantized(self) -> dict[str, Any]:
        """The products' layers in 8 bits."""
        names = [n[:-len(".weight")] for n in self.weights if n.endswith((".dense.weight", ".qkv.weight"))]
        return {name: quantized(self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]) for name in names}

    def _encode(self, input_ids: Any, mask: Any) -> Any:
        from torch.nn import functional

        w, heads = self.weights, self.config["num_attention_heads"]
        batch, length = input_ids.shape
        x = functional.embedding(input_ids, w["embeddings.word_embeddings.weight"])
        x = x + w["embeddings.token_type_embeddings.weight"][0] + w["embeddings.position_embeddings.weight"][:length]
        x = self._norm("embeddings.LayerNorm", x)
        allowed = mask[:, None, None, :]
        for number in range(self.config["num_hidden_layers"]):
            path = f"encoder.layer.{number}"
            qkv = self._linear(f"{path}.attention.self.qkv", x).view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=allowed)
            merged = attended.transpose(1, 2).reshape(batch, length, -1)
            x = self._norm(f"{path}.attention.output.LayerNorm", self._linear(f"{path}.attention.output.dense", merged) + x)
            wide = functional.gelu(self._linear(f"{path}.intermediate.dense", x))
            x = self._norm(f"{path}.output.LayerNorm", self._linear(f"{path}.output.dense", wide) + x)
        return x

    def _linear(self, name: str, x: Any) -> Any:
        from torch.nn import functional

        if name in self.quantized:
            return self.quantized[name](x)
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Any) -> Any:
        from torch.nn import functional

        return functional.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"],
                                     self.config["layer_norm_eps"])


def quantized(weight: Any, bias: Any = None) -> Any:
    """A layer whose weight [out, in] has 8 bits, and which quantises its input in each call."""
    import torch

    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias, requires_grad=False)
    return torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), {torch.nn.Linear}, torch.qint8)[0]
