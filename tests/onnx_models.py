"""Small ONNX models for tests, made by the onnx package's helpers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

I64, F32, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
Spec = tuple[int, Sequence[Any]]  # element type and shape


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node; names are apart by spaces, `_` is one that is left out."""
    names = [n if n != "_" else "" for n in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=f"{op}_{outputs}", **attributes)


def model(nodes: Sequence[NodeProto], inputs: Mapping[str, Spec], outputs: Mapping[str, Spec],
          initializers: Mapping[str, np.ndarray] | None = None, opset: int = 18) -> ModelProto:
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def expected(made: ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime computes, without its optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, dict(feeds))
    return found


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def encoder(layers: int = 1, width: int = 8, heads: int = 2, opset: int = 17, legacy_mask: bool = True) -> ModelProto:
    """An encoder as PyTorch's exporters write it: shapes gathered and joined, a mask read by a grid of positions."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {"table": rng.normal(size=(20, width)).astype(np.float32)}
    consts = {"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "axis0": numbers(0), "axis1": numbers(1),
              "axis3": numbers(3), "heads": numbers(heads), "size": numbers(width // heads), "width": numbers(width),
              "low": np.array(np.finfo(np.float32).min, np.float32), "none": np.array(0, np.float32),
              "minus": numbers(-1), "scale": np.array((width // heads) ** -0.5, np.float32), "unit": numbers(1)}
    nodes = [node("Gather", "table ids", "x0"), node("Shape", "ids", "shape"), node("Gather", "shape zero", "b", axis=0),
             node("Gather", "shape one", "s", axis=0), node("Unsqueeze", "b axis0", "b1"), node("Unsqueeze", "s axis0", "s1"),
             node("Concat", "b1 s1 heads size", "split", axis=0), node("Concat", "b1 s1 width", "joined", axis=0),
             *grid_mask(legacy_mask), node("Where", "kept none low", "bias")]
    for i in range(layers):
        for name in "qkvo":
            weights[f"{name}{i}"] = rng.normal(size=(width, width)).astype(np.float32)
        for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            nodes += [node("MatMul", f"x{i} {name}{i}", f"{name}m{i}"), node("Reshape", f"{name}m{i} split", f"{name}r{i}"),
                      node("Transpose", f"{name}r{i}", f"{name}t{i}", perm=perm)]
        nodes += [node("MatMul", f"qt{i} kt{i}", f"dot{i}"), node("Mul", f"dot{i} scale", f"scaled{i}"),
                  node("Add", f"scaled{i} bias", f"masked{i}"), node("Softmax", f"masked{i}", f"soft{i}", axis=-1),
                  node("MatMul", f"soft{i} vt{i}", f"mixed{i}"), node("Transpose", f"mixed{i}", f"back{i}", perm=[0, 2, 1, 3]),
                  node("Reshape", f"back{i} joined", f"flat{i}"), node("MatMul", f"flat{i} o{i}", f"out{i}"),
                  node("Add", f"out{i} x{i}", f"x{i + 1}")]
    return model(nodes, {"ids": (I64, ["batch", "length"]), "mask": (I64, ["batch", "length"])},
                 {f"x{layers}": (F32, ["batch", "length", width])}, {**consts, **weights}, opset)


def grid_mask(legacy: bool) -> list[NodeProto]:
    """`kept` [batch, 1, 1, length]: mask[b, s] != 0 at a grid of b and s, flattened (as torch.jit's exporter has it) or not."""
    nodes = [node("Cast", "mask", "allowed", to=BOOL), node("Range", "zero b one", "rows"), node("Range", "zero s one",
                                                                                                 "columns"),
             node("Concat", "b1 unit unit s1", "grid", axis=0), node("Concat", "b1 unit unit unit", "tall", axis=0),
             node("Reshape", "rows tall", "row")]
    if legacy:
        return [*nodes, node("Mul", "row s", "start"), node("Add", "start columns", "places"),
                node("Reshape", "allowed minus", "line"), node("Gather", "line places", "kept", axis=0)]
    return [*nodes, node("Expand", "row grid", "row_grid"), node("Expand", "columns grid", "column_grid"),
            node("Unsqueeze", "row_grid minus", "row_last"), node("Unsqueeze", "column_grid minus", "column_last"),
            node("Concat", "row_last column_last", "places", axis=-1), node("GatherND", "allowed places", "kept")]
