"""Sizes of ONNX models that must be equal, which fuzzing found to be asked for without end."""

from __future__ import annotations

import pytest

import tgraph as tg
from tests.onnx_models import F32, model, node


@pytest.mark.parametrize(("shapes", "found"), [
    ((["B", "B"], ["B", None]), ["f32[B, B]", "f32[B, B]"]), (([None, 2], [None, 2]), ["f32[x_0, 2]", "f32[x_0, 2]"]),
    ((["batch size", 2], [None, 2]), ["f32[batch_size, 2]", "f32[batch_size, 2]"]),
    ((["batch size", 2], ["B", 2]), ["f32[batch_size, 2]", "f32[batch_size, 2]"]),
])
def test_a_size_without_a_name_may_have_to_be_another(shapes: tuple[list[object], list[object]], found: list[str]) -> None:
    graph = tg.import_onnx(model([node("Mul", "x z", "y")], {"x": (F32, shapes[0]), "z": (F32, shapes[1])}, {"y": (F32, None)}))
    assert [str(i.type) for i in graph.inputs] == found and not graph.constraints


def test_sizes_that_cannot_be_made_one_are_left_to_a_call() -> None:
    graph = tg.import_onnx(model([node("Mul", "x z", "y")], {"x": (F32, ["B*S"]), "z": (F32, ["T+1"])}, {"y": (F32, None)}))
    assert [str(i.type) for i in graph.inputs] == ["f32[B*S]", "f32[T+1]"] and len(graph.constraints) == 1
