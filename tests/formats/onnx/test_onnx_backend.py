"""The backend of ONNX's own interface: inputs that become constants, and what it says of wrong calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tgraph as tg
from tgraph import onnx_backend
from tgraph.formats.onnx.node import NeedsInputsError
from tgraph.onnx_backend import REMEMBERED, TGraphBackend

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def model(nodes: list[Any], inputs: dict[str, tuple[int, list[Any]]], outputs: list[str], rank: int = 2) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "model", [helper.make_tensor_value_info(n, *t) for n, t in inputs.items()],
                              [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name in outputs])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def reduced() -> onnx.ModelProto:
    return model([helper.make_node("ReduceSum", ["x", "axes"], ["y"])],
                 {"x": (TensorProto.FLOAT, [3, 4]), "axes": (TensorProto.INT64, [1])}, ["y"])


def prepared(of: onnx.ModelProto) -> Any:
    return TGraphBackend.prepare(of, "CPU", target="numpy")


def test_inputs_that_an_op_needs_are_constants_of_each_value() -> None:
    rep = prepared(reduced())
    for axis in (0, 1, -1, 0):
        y, = rep.run([X, np.array([axis])])
        assert np.array_equal(y, X.sum(axis, keepdims=True))
    assert rep.constant == ["axes"] and len(rep._compiled) == 3


def test_no_more_executables_are_kept_than_some() -> None:
    types: dict[str, Any] = {"x": (TensorProto.FLOAT, [99]), "first": (TensorProto.INT64, [1]), "last": (TensorProto.INT64, [1])}
    rep = prepared(model([helper.make_node("Slice", ["x", "first", "last"], ["y"])], types, ["y"], 1))
    x = np.arange(99, dtype=np.float32)
    for first in range(REMEMBERED + 4):
        y, = rep.run({"x": x, "first": np.array([first]), "last": np.array([50])})
        assert np.array_equal(y, x[first:50])
    assert len(rep._compiled) == REMEMBERED


def test_what_is_computed_of_an_input_makes_a_constant_of_it() -> None:
    nodes = [helper.make_node("Add", ["size", "size"], ["shape"]), helper.make_node("Expand", ["x", "shape"], ["y"])]
    rep = prepared(model(nodes, {"x": (TensorProto.FLOAT, [1]), "size": (TensorProto.INT64, [2])}, ["y"]))
    y, = rep.run([np.ones(1, np.float32), np.array([1, 2])])
    assert y.shape == (2, 4)


def test_data_is_no_constant() -> None:
    nodes = [helper.make_node("Cast", ["x"], ["sizes"], to=TensorProto.INT64),
             helper.make_node("ConstantOfShape", ["sizes"], ["y"])]
    rep = prepared(model(nodes, {"x": (TensorProto.FLOAT, [100])}, ["y"], 100))
    with pytest.raises(tg.FormatError, match="takes the shape from its input"):
        rep.run([np.ones(100, np.float32)])


def test_the_importer_names_the_inputs() -> None:
    with pytest.raises(NeedsInputsError, match=r"inputs=\{'axes': array\}") as caught:
        tg.formats.import_onnx(reduced())
    assert caught.value.inputs == ("axes",)
    graph = tg.formats.import_onnx(reduced(), inputs={"axes": np.array([1])})
    assert [i.name for i in graph.inputs] == ["x"]


@pytest.mark.parametrize("axes", [np.array([1.0]), np.array([0, 1]), np.array(1)])
def test_constants_of_another_type_or_shape(axes: np.ndarray) -> None:
    with pytest.raises(tg.FormatError, match=r"input 'axes' is i64\[1\], and the array given for it "):
        tg.formats.import_onnx(reduced(), inputs={"axes": axes})


def test_outputs_have_names_and_inputs_go_in_by_either() -> None:
    rep = prepared(model([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])],
                         {"x": (TensorProto.FLOAT, [3, 4])}, ["y", "z"]))
    for inputs in ([X], (X,), {"x": X}, X):
        found = rep.run(inputs)
        assert np.array_equal(found.z, -X) and np.array_equal(found[0], X)


@pytest.mark.parametrize("inputs", [[X], {"x": X}, [X, X, X], {"x": X, "axes": np.array([1]), "y": X}])
def test_the_wrong_inputs(inputs: Any) -> None:
    with pytest.raises(tg.InputError, match="axes"):
        prepared(reduced()).run(inputs)


def test_one_node() -> None:
    node = helper.make_node("Clip", ["x", "", "high"], ["y"])
    y, = onnx_backend.run_node(node, [X, np.float32(5)], target="numpy")
    assert np.array_equal(y, np.minimum(X, 5))
    y, = onnx_backend.run_node(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"), [X], target="numpy")
    assert y.shape == X.shape


def test_one_model_for_the_cpu() -> None:
    y, = onnx_backend.run_model(reduced(), [X, np.array([1])], level="O3")
    assert np.allclose(y, X.sum(1, keepdims=True))


def test_devices() -> None:
    assert onnx_backend.supports_device("CPU")
    assert not onnx_backend.supports_device("CUDA:7") and not onnx_backend.supports_device("TPU")
    with pytest.raises(tg.TargetError, match="TPU"):
        onnx_backend.prepare(reduced(), "TPU")


def test_compatible_models() -> None:
    assert onnx_backend.is_compatible(reduced())
    lost = model([helper.make_node("Det", ["x"], ["y"])], {"x": (TensorProto.FLOAT, [3, 3])}, ["y"])
    assert not onnx_backend.is_compatible(lost)
    with pytest.raises(tg.FormatError, match="determinant"):
        onnx_backend.prepare(lost)


def test_an_unsound_model() -> None:
    broken = reduced()
    broken.graph.node[0].input[0] = "nowhere"
    with pytest.raises(tg.FormatError, match="nowhere"):
        onnx_backend.prepare(broken)
