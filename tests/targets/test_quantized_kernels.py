"""Kernels that read weights of integers, compiled for every kind of CPU: what they keep of the weights, and their results."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg
from tests.targets.feature_sets import each_feature_set, run_only_here
from tests.targets.quantized_graphs import KINDS, weights
from tests.targets.weight_storage import prepared_bytes
from tgraph.reference import generate_inputs, run


@each_feature_set
@pytest.mark.parametrize("kind", KINDS)
def test_results(kind: str, cpu: str) -> None:
    graph = weights(kind)
    exe = tg.compile(graph, cpu)
    wide = sum(n for dtype, n in prepared_bytes(exe).items() if dtype not in ("i8", "u8"))
    assert wide <= 3 * 96 * 4 * (4 if kind == "4 bits" else 1)  # scales, zero points and sums, a channel each, or a block
    run_only_here(cpu)
    for rows in (1, 3, 40):
        feeds = generate_inputs(graph, {"B": rows})
        want, got = run(graph, feeds), exe.run(feeds)
        for name in want:
            assert np.abs(got[name] - want[name]).max() <= 1e-5 * np.abs(want[name]).max(), rows
