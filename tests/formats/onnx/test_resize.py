"""Resampling of images, against ONNX Runtime. (The standard's own cases are in tests/conformance.)"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import F32, expected, model, node, numbers

import tgraph as tg
from tgraph.formats import import_onnx
from tgraph.reference.interpreter import Interpreter

X = np.random.default_rng(0).normal(size=(2, 3, 6, 5)).astype(np.float32)


def resized(shape: list[Any], **attributes: Any) -> Any:
    made = node("Resize", "x _ _ sizes", "y", axes=[2, 3], **attributes)
    return model([made], {"x": (F32, shape)}, {"y": (F32, [None] * 4)}, {"sizes": numbers(9, 4)})


@pytest.mark.parametrize("attributes", [
    {"mode": "nearest", "nearest_mode": "floor"}, {"mode": "linear"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    {"mode": "cubic", "cubic_coeff_a": -0.5}, {"mode": "cubic", "exclude_outside": 1},
])
@pytest.mark.parametrize("batch", [2, "B"])
def test_sizes(batch: Any, attributes: dict[str, Any]) -> None:
    made = resized([batch, 3, 6, 5], **attributes)
    graph = import_onnx(made)
    assert graph.outputs[0][1].type.shape[1:] == (3, 9, 4)
    found = Interpreter(graph, faithful=True).run({"x": X})["y"]
    np.testing.assert_allclose(found, expected(made, {"x": X})[0], rtol=0, atol=1e-5)


def test_the_same_size_changes_nothing() -> None:
    assert len(import_onnx(resized(["B", 3, 9, 4], mode="cubic"))) == 0


def test_a_size_that_a_call_decides() -> None:
    with pytest.raises(tg.FormatError, match="resamples an axis of H elements, whose number must be known"):
        import_onnx(resized(["B", 3, "H", 5], mode="linear"))
