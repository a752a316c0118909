"""Every sample of every op, compiled: each target gives what NumPy says.

Compiling costs most of a second whatever the size of the graph, so that samples are compiled many at a time: each
with inputs and dims of its own, as outputs of one graph.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pytest

import tgraph as tg
from tests.ops.sample import Sample, as_tuple
from tests.ops.samples import FAMILIES, SAMPLES
from tgraph.reference.tolerance import compare

TOGETHER = 40
BATCHES = [(f"{family}{i // TOGETHER}", members[i:i + TOGETHER])
           for family, members in FAMILIES.items() for i in range(0, len(members), TOGETHER)]
# Errors of one op: f32 sums of some hundred terms; the halves by their unit in the last place, times four.
TOLERANCE = {"f64": 1e-12, "f32": 1e-5, "f16": 2e-3, "bf16": 1.6e-2}


def joint(samples: Sequence[Sample]) -> tg.Graph:
    """All samples in one graph; output s3_0 is the first of sample 3."""
    specs: dict[str, tg.TensorType] = {}
    for number, sample in enumerate(samples):
        specs |= sample.renamed(f"_{number}")

    def build(**tensors: tg.Tensor) -> dict[str, tg.Tensor]:
        given = iter(tensors.values())
        return {f"s{number}_{position}": output for number, sample in enumerate(samples)
                for position, output in enumerate(as_tuple(sample.build(*[next(given) for _ in sample.specs])))}

    return tg.trace(build, name="samples", **specs)


def check(samples: Sequence[Sample], target: str) -> list[str]:
    """What differs from the formula, one line a result."""
    graph = joint(samples)
    feeds = {f"{name}_{number}": array for number, sample in enumerate(samples) for name, array in sample.feeds().items()}
    results = tg.compile(graph, target).run(feeds)
    types = {name: value.dtype for name, value in graph.outputs}
    wrong = []
    for number, sample in enumerate(samples):
        for position, expected in enumerate(sample.expected()):
            name = f"s{number}_{position}"
            # a float result is as exact as the shortest float among its operands
            floats = [t.dtype for t in sample.specs.values() if t.dtype.is_float]
            allowed = max((TOLERANCE[d.name] for d in (*floats, types[name]) if d.is_float), default=0.0) * sample.loss
            comparison = compare(results[name], expected, allowed if types[name].is_float else 0.0)
            if results[name].dtype != types[name].numpy or not comparison.ok:
                found = f"{results[name].dtype} {list(results[name].shape)}, expected {list(expected.shape)}"
                wrong.append(f"{sample.name}: error {comparison.error:.1e} of {comparison.tolerance:.0e} in {found}")
    return wrong


@pytest.mark.parametrize(("name", "samples"), [pytest.param(n, s, id=n) for n, s in BATCHES])
def test_cpu(name: str, samples: Sequence[Sample]) -> None:
    assert check(samples, "cpu") == []


@pytest.mark.parametrize(("name", "samples"), [pytest.param(n, s, id=n) for n, s in BATCHES])
def test_numpy(name: str, samples: Sequence[Sample]) -> None:
    assert check(samples, "numpy") == []


@functools.cache
def identity() -> tg.Executable:
    return tg.compile(tg.trace(lambda x: x, x=tg.f32[tg.dim("B"), 3]), "cpu")


def test_an_output_may_be_an_input() -> None:
    x = np.ones((2, 3), np.float32)
    y = identity()(x)
    assert np.array_equal(x, y)
    x[:] = 2
    assert np.array_equal(y, np.ones((2, 3)))


def test_all_samples_are_compiled() -> None:
    assert sum(len(samples) for _, samples in BATCHES) == len(SAMPLES) > 700
