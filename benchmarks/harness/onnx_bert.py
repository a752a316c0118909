"""BERT as an ONNX graph of standard ops, spelled as exporters write it, so that other runtimes recognise and fuse it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8
HIDDEN, SENTENCE = "hidden", "sentence"  # what the model gives: states and pooled token, or unit sentence vectors


def bert_onnx(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], prefix: str = "", head: str = HIDDEN) -> Any:
    """An onnx.ModelProto: input_ids and attention_mask, both i64 [B, S], to `hidden` and `pooled`, or to `embedding`.

    config: the fields of BertConfig. weights: by the names of Hugging Face's checkpoints, after `prefix`.
    """
    g = _Graph(weights, prefix)
    epsilon = float(config["layer_norm_eps"])
    x = _embeddings(g, epsilon)
    mask = g.add("Cast", g.unsqueeze(g.unsqueeze("attention_mask", 1), 2), to=1)
    # finfo.min, as exporters write it
    bias = g.add("Mul", g.add("Sub", g.constant(1.0), mask), g.constant(float(np.finfo(np.float32).min)))
    for number in range(config["num_hidden_layers"]):
        x = _layer(g, f"encoder.layer.{number}", x, bias, config["num_attention_heads"], config["hidden_size"], epsilon)
    if head == HIDDEN:
        first = g.add("Gather", x, g.constant(0, np.int64), axis=1)
        pooled = g.add("Tanh", g.linear("pooler.dense", first))
        return g.model({"hidden": (x, ["B", "S", config["hidden_size"]]), "pooled": (pooled, ["B", config["hidden_size"]])})
    return g.model({"embedding": (_sentence(g, x), ["B", config["hidden_size"]])})


class _Graph:
    """Nodes and initialisers of one graph."""

    def __init__(self, weights: Mapping[str, np.ndarray], prefix: str):
        self.weights, self.prefix = weights, prefix
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        import onnx

        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, transposed: bool = False) -> str:
        """A parameter of the checkpoint; transposed for MatMul."""
        if name not in self.initializers:
            array = np.asarray(self.weights[self.prefix + name])
            self.initializers[name] = np.ascontiguousarray(array.T if transposed else array)
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        array = np.asarray(value, dtype)
        name = f"const_{array.dtype}_{'x'.join(map(str, array.reshape(-1)))}{'' if array.ndim else '_scalar'}"
        self.initializers[name] = array
        return name

    def linear(self, name: str, x: str) -> str:
        return self.add("Add", self.add("MatMul", x, self.weight(f"{name}.weight", True)), self.weight(f"{name}.bias"))

    def layer_norm(self, name: str, x: str, epsilon: float) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon)

    def unsqueeze(self, x: str, axis: int) -> str:
        return self.add("Unsqueeze", x, self.constant([axis], np.int64))

    def model(self, outputs: Mapping[str, tuple[str, Sequence[Any]]]) -> Any:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        self.nodes += [helper.make_node("Identity", [value], [name], name=f"output_{name}")
                       for name, (value, _) in outputs.items()]
        graph = helper.make_graph(
            self.nodes, "bert",
            [helper.make_tensor_value_info(n, TensorProto.INT64, ["B", "S"]) for n in ("input_ids", "attention_mask")],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, (_, shape) in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.initializers.items()])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(made)
        return made


def _embeddings(g: _Graph, epsilon: float) -> str:
    zero, one = g.constant([0], np.int64), g.constant([1], np.int64)
    words = g.add("Gather", g.weight("embeddings.word_embeddings.weight"), "input_ids")
    length = g.add("Unsqueeze", g.add("Gather", g.add("Shape", "input_ids"), g.constant(1, np.int64), axis=0), zero)
    limit = g.weights[f"{g.prefix}embeddings.position_embeddings.weight"].shape[0]
    g.initializers["position_ids"] = np.arange(limit, dtype=np.int64)[None]
    numbers = g.add("Slice", "position_ids", zero, length, one)
    positions = g.add("Gather", g.weight("embeddings.position_embeddings.weight"), numbers)
    segments = g.add("ConstantOfShape", g.add("Shape", "input_ids"), value=_int64_zero())
    types = g.add("Gather", g.weight("embeddings.token_type_embeddings.weight"), segments)
    return g.layer_norm("embeddings.LayerNorm", g.add("Add", g.add("Add", words, types), positions), epsilon)


def _int64_zero() -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor("zero", TensorProto.INT64, [1], [0])


def _layer(g: _Graph, path: str, x: str, bias: str, heads: int, hidden: int, epsilon: float) -> str:
    split = g.constant([0, 0, heads, hidden // heads], np.int64)

    def project(name: str, perm: Sequence[int]) -> str:
        return g.add("Transpose", g.add("Reshape", g.linear(f"{path}.attention.self.{name}", x), split), perm=list(perm))

    query, key, value = project("query", (0, 2, 1, 3)), project("key", (0, 2, 3, 1)), project("value", (0, 2, 1, 3))
    scores = g.add("Div", g.add("MatMul", query, key), g.constant(math.sqrt(hidden // heads)))
    attended = g.add("MatMul", g.add("Softmax", g.add("Add", scores, bias), axis=-1), value)
    merged = g.add("Reshape", g.add("Transpose", attended, perm=[0, 2, 1, 3]), g.constant([0, 0, hidden], np.int64))
    projected = g.linear(f"{path}.attention.output.dense", merged)
    x = g.layer_norm(f"{path}.attention.output.LayerNorm", g.add("Add", projected, x), epsilon)
    wide = g.linear(f"{path}.intermediate.dense", x)
    half = g.add("Add", g.add("Erf", g.add("Div", wide, g.constant(math.sqrt(2)))), g.constant(1.0))
    gelu = g.add("Mul", g.add("Mul", wide, half), g.constant(0.5))
    return g.layer_norm(f"{path}.output.LayerNorm", g.add("Add", g.linear(f"{path}.output.dense", gelu), x), epsilon)


def _sentence(g: _Graph, x: str) -> str:
    """The mean over the tokens, at unit length."""
    mask = g.add("Cast", g.unsqueeze("attention_mask", 2), to=1)
    axis = g.constant([1], np.int64)
    total = g.add("ReduceSum", g.add("Mul", x, mask), axis, keepdims=0)
    mean = g.add("Div", total, g.add("Max", g.add("ReduceSum", mask, axis, keepdims=0), g.constant(1e-9)))
    length = g.add("Sqrt", g.add("ReduceSum", g.add("Mul", mean, mean), axis, keepdims=1))
    return g.add("Div", mean, g.add("Max", length, g.constant(1e-12)))
