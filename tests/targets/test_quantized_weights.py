"""Weights that a graph brings as integers are read by the kernels as they are stored, whatever the CPU has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.target import Target
from targets.lowering.pipeline import kernel_graph
from tests.targets.feature_sets import each_feature_set
from tests.targets.quantized_graphs import KINDS, B, weights
from tests.targets.weight_storage import weight_bits
from tgraph.reference import generate_inputs, run


@each_feature_set
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_read_what_is_stored(kind: str, cpu: str) -> None:
    """Whatever the instructions: also where products of bf16 have one, whose weights lie in pairs."""
    kernels = kernel_graph(tg.optimize(weights(kind), "O3"), Target.parse(cpu))
    assert weight_bits(kernels) == {KINDS[kind]: 1}


def test_weights_in_other_precisions() -> None:
    """Weights that are narrower already stay so; products in bf16 read them as bf16."""
    graph = weights("4 bits")
    for weights_in, precision, bits in (("bf16", "f32", 4), ("i8", "f32", 8), ("i4", "f32", 4), ("f32", "bf16", 16)):
        optimized = tg.compile(graph, "numpy", weights=weights_in, precision=precision).optimized
        (found,) = weight_bits(kernel_graph(optimized, Target.parse("cpu:x86-64-v3")))
        assert found[1] == bits, (weights_in, precision)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gets_the_same(kind: str) -> None:
    """The kernels chosen for a GPU, run by the reference; it has none for such weights, which are widened beforehand."""
    graph = weights(kind)
    feeds = generate_inputs(graph, {"B": 3})
    want, got = run(graph, feeds), run(kernel_graph(tg.optimize(graph, "O3"), Target.parse("cuda:sm_90")), feeds)
    for name in want:
        assert np.abs(got[name] - want[name]).max() <= 1e-6 * np.abs(want[name]).max()


def test_a_gpu_gets_weights_of_4_bits_widened() -> None:
    numbers = np.random.default_rng(0).standard_normal((40, 100)).astype(np.float32)
    graph = tg.compile(tg.trace(lambda x: tg.linear(x, numbers), x=tg.f32[B, 100]), "numpy", weights="i4").optimized
    feeds = generate_inputs(graph, {"B": 3})
    kernels = kernel_graph(graph, Target.parse("cuda:sm_90"))
    assert {n.op.name for f in kernels.functions.values() for n in f.nodes} == {"linear"}
    for name, want in run(graph, feeds).items():
        assert np.abs(run(kernels, feeds)[name] - want).max() <= 1e-6 * np.abs(want).max()


def test_kernels_that_differ_in_numbers_are_one() -> None:
    """Scales of layers are numbers, which become operands; those that are the same everywhere stay in the code."""

    def kernels(count: int) -> list[tg.Graph]:
        def build(x: Any) -> Any:
            for i in range(count):
                x = tg.softmax(x, axis=-1) * (0.25 + i) + 1.0
            return x

        graph = kernel_graph(tg.trace(build, x=tg.f32[B, 8]), Target.parse("cpu:x86-64-v3"))
        assert len(graph.nodes) >= count
        return list(graph.functions.values())

    (shared,), (alone,) = kernels(5), kernels(1)
    assert [v.type for v in shared.inputs] == [tg.f32[B, 8], tg.f32[()]]
    assert [v.type for v in alone.inputs] == [tg.f32[B, 8]]
