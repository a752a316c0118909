"""Products of one input with many weights, one after the other, so that no cache holds the next weight before it is read.

Each gives its last row only: what all contenders would spend on outputs of many megabytes is no part of a product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tgraph as tg
from benchmarks.harness.job import Feeds
from benchmarks.harness.torch_bert import quantized
from tgraph import nn


class Products(nn.Module):
    """x [M, K] to the last row of x w^T [1, N] for each of `count` weights [N, K]."""

    def __init__(self, n: int, k: int, count: int):
        self.weight = [tg.Parameter(tg.f32[n, k]) for _ in range(count)]

    def __call__(self, x: tg.Tensor) -> dict[str, tg.Tensor]:
        return {f"y{i}": tg.linear(x, weight)[-1:] for i, weight in enumerate(self.weight)}


def products_graph(n: int, k: int, count: int) -> tg.Graph:
    """For tgraph."""
    return tg.trace(Products(n, k, count), x=tg.f32[tg.dim("M", min=1), k])


class ProductsPeer:
    """A PeerModel. weights: weight.0, weight.1, ... [N, K]."""

    optimizer = None

    def __init__(self, weights: Mapping[str, np.ndarray]):
        self.weights = [np.array(weights[f"weight.{i}"]) for i in range(len(weights))]

    def onnx(self) -> dict[str, Any]:
        from onnx import TensorProto, helper, numpy_helper

        n, k = self.weights[0].shape
        constants = [numpy_helper.from_array(np.ascontiguousarray(w.T), f"w{i}") for i, w in enumerate(self.weights)]
        constants += [numpy_helper.from_array(np.array([value], np.int64), name)
                      for name, value in (("first", -1), ("end", np.iinfo(np.int64).max), ("rows", 0))]
        nodes = []
        for i in range(len(self.weights)):
            nodes += [helper.make_node("MatMul", ["x", f"w{i}"], [f"p{i}"], name=f"product{i}"),
                      helper.make_node("Slice", [f"p{i}", "first", "end", "rows"], [f"y{i}"], name=f"row{i}")]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["M", k])]
        outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, n]) for i in range(len(self.weights))]
        graph = helper.make_graph(nodes, "products", inputs, outputs, constants)
        return {"": helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)}

    def onnx_feeds(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return dict(feeds)

    def openvino(self) -> None:
        return None

    def torch(self, precision: str) -> Any:
        import torch

        weights = [torch.from_numpy(w) for w in self.weights]
        if precision == "bf16":
            weights = [w.to(torch.bfloat16) for w in weights]
        layers = [quantized(w) for w in weights] if precision == "i8" else []

        def multiply(x: Any) -> tuple[Any, ...]:
            x = x.to(weights[0].dtype)
            if layers:
                return tuple(layer(x)[-1:] for layer in layers)
            return tuple(torch.nn.functional.linear(x, w)[-1:].float() for w in weights)

        return multiply

    def torch_feeds(self, feeds: Feeds) -> list[np.ndarray]:
        return [feeds["x"]]
