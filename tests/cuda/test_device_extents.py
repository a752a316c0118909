"""Sizes that only the device knows: rows of a padded batch are counted there, and the host never learns how many they are."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg
from targets.lowering.stages import device_bounds

B, S = tg.dims("B S")


def packed(x: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
    """A norm of the real rows alone, and their sum."""
    positions, _ = tg.unpack(mask)
    rows = tg.gather(x.reshape(B * S, 12), positions)
    rows = tg.layer_norm(rows) + tg.reduce_mean(rows, axes=(0,))
    return tg.pad_rows(rows, tg.number_rows(mask))


@pytest.fixture(scope="module")
def compiled() -> tg.Executable:
    return tg.compile(tg.trace(packed, x=tg.f32[B, S, 12], mask=tg.bool_[B, S]), "cuda", passes="", cache=False)


def test_no_stage_ends_to_ask_for_a_size(compiled: tg.Executable) -> None:
    (plan,) = compiled._compiled.plans.values()
    stages = plan.stages
    assert [stage.name for stage in stages] == ["run_packed"]
    assert list(device_bounds(compiled.kernels)) == ["N"] == stages[0].device_extents


@pytest.mark.parametrize(("batch", "length", "share"), [
    (3, 7, 0.5), (1, 1, 1.0), (2, 700, 0.3), (4, 5, 0.0), (0, 5, 1.0), (3, 0, 1.0), (5, 9, 0.9), (3, 7, 0.5)])
def test_results_are_those_of_the_reference(compiled: tg.Executable, batch: int, length: int, share: float) -> None:
    random = np.random.default_rng(batch * 100 + length)
    feeds = {"x": random.standard_normal((batch, length, 12)).astype("f"), "mask": random.random((batch, length)) < share}
    expected = tg.compile(compiled.graph, "numpy").run(feeds)["output"]
    for _ in range(3):  # launched, captured, replayed
        assert np.allclose(compiled.run(feeds)["output"], expected, atol=1e-5, equal_nan=True)


def test_a_size_that_an_output_has_is_found_by_the_host() -> None:
    graph = tg.trace(lambda mask: tg.unpack(mask), mask=tg.bool_[B, S])
    compiled = tg.compile(graph, "cuda", cache=False)
    assert not device_bounds(compiled.kernels)
    mask = np.array([[1, 0, 1], [0, 0, 1]], bool)
    positions, offsets = compiled(mask)
    assert positions.tolist() == [0, 2, 5] and offsets.tolist() == [0, 2, 3]
