"""Sequences of tensors whose lengths are known, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto
from onnx_models import F32, I64, expected, model, node, numbers

import tgraph as tg
from tgraph.formats import import_onnx
from tgraph.reference.interpreter import Interpreter

X = np.arange(24, dtype=np.float32).reshape(4, 6)
ONE, TWO = np.array(1, np.int64), np.array(2, np.int64)
CASES: dict[str, tuple[list[NodeProto], dict[str, np.ndarray]]] = {
    "part": ([node("SplitToSequence", "x", "s", axis=1, keepdims=0), node("SequenceAt", "s place", "y")],
             {"place": np.array(-2, np.int64)}),
    "equal": ([node("SplitToSequence", "x size", "s", axis=1), node("SequenceAt", "s place", "y")],
              {"size": np.array(4, np.int64), "place": ONE}),
    "sizes": ([node("SplitToSequence", "x sizes", "s", axis=0), node("ConcatFromSequence", "s", "y", axis=1, new_axis=0)],
              {"sizes": numbers(2, 2)}),
    "stack": ([node("SplitToSequence", "x", "s", axis=0, keepdims=0), node("SequenceErase", "s two", "t"),
               node("ConcatFromSequence", "t", "y", axis=1, new_axis=1)], {"two": TWO}),
    "built": ([node("SequenceConstruct", "x x", "s"), node("Neg", "x", "n"), node("SequenceInsert", "s n one", "t"),
               node("SequenceErase", "t", "u"), node("ConcatFromSequence", "u", "y", axis=0)], {"one": ONE}),
    "grown": ([node("SequenceEmpty", "", "s"), node("SequenceInsert", "s x", "t"), node("SequenceInsert", "t x", "u"),
               node("ConcatFromSequence", "u", "y", axis=-1)], {}),
}




@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    nodes, held = CASES[name]
    made = model(nodes, {"x": (F32, [4, 6])}, {"y": (F32, [None] * (3 if name == "stack" else 1 if name == "part" else 2))}, held)
    found = Interpreter(import_onnx(made), faithful=True).run({"x": X})["y"]
    np.testing.assert_array_equal(found, expected(made, {"x": X})[0])


def test_length() -> None:
    nodes = [node("SplitToSequence", "x", "s", axis=1), node("SequenceLength", "s", "y")]
    graph = import_onnx(model(nodes, {"x": (F32, ["N", 6])}, {"y": (I64, [])}))
    assert Interpreter(graph, faithful=True).run({"x": X})["y"] == 6


def test_symbolic_sizes() -> None:
    """What is split along an axis of known size may have others."""
    nodes = [node("SplitToSequence", "x", "s", axis=1, keepdims=0), node("SequenceAt", "s one", "y")]
    graph = import_onnx(model(nodes, {"x": (F32, ["N", 6])}, {"y": (F32, ["N"])}, {"one": ONE}))
    assert str(graph.outputs[0][1].type) == "f32[N]"
    np.testing.assert_array_equal(Interpreter(graph, faithful=True).run({"x": X})["y"], X[:, 1])


@pytest.mark.parametrize(("nodes", "message"), [
    ([node("SplitToSequence", "x", "s", axis=0), node("SequenceAt", "s one", "y")], "cuts an axis of N into parts of 1"),
    ([node("SplitToSequence", "x", "s", axis=1), node("SequenceAt", "s nine", "y")], "takes place 9 of a sequence of 6"),
    ([node("SplitToSequence", "x", "s", axis=1), node("SequenceAt", "s i", "y")], "takes the place from its input 'i'"),
    ([node("SplitToSequence", "x", "y", axis=1)], "output 'y' is a sequence"),
])
def test_refused(nodes: list[NodeProto], message: str) -> None:
    held = {"one": ONE, "nine": np.array(9, np.int64)}
    made = model(nodes, {"x": (F32, ["N", 6]), "i": (I64, [])}, {"y": (F32, ["N"])}, held)
    with pytest.raises(tg.FormatError, match=message):
        import_onnx(made)
