"""A symbolic axis that is too short for a call is an InputError that names it: for topk, ranges and convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg

S = tg.dim("S")
MODELS: dict[str, Any] = {
    "topk": lambda x: tg.topk(x, 3).indices, "arange": lambda x: tg.arange(x.shape[1] - 3) + tg.range(x.shape[1] - 3),
    "conv1d": lambda x: tg.conv1d(x[:, None], np.ones((2, 1, 3), np.float32)),
}


@pytest.mark.parametrize("target", ["numpy", "cpu"])
@pytest.mark.parametrize("name", MODELS)
def test_an_axis_that_is_too_short(name: str, target: str) -> None:
    graph = tg.trace(MODELS[name], x=tg.f32[2, S])
    least = 3 if name != "conv1d" else 2  # then there are no windows
    assert f"where S >= {least}" in str(graph)
    exe = tg.compile(graph, target)
    for size in (least, 5):
        exe(np.ones((2, size), np.float32))
    with pytest.raises(tg.InputError, match=f"S of x is 1, but the graph needs S >= {least}"):
        exe(np.ones((2, 1), np.float32))
