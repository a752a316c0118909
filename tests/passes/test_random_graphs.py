"""Whole pipelines on random graphs: they verify, they mean the same, they lose no scope and no line of a user."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs

import tgraph as tg
from passes import run_pipeline
from passes.pipelines import LEVELS
from tgraph.reference.interpreter import Interpreter


def results(graph: tg.Graph, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    feeds = {i.name: generator.standard_normal((2, 3, 4)).astype(np.float32) for i in graph.inputs}
    weights = {name: np.random.default_rng(seed + 1).standard_normal(p.type.shape)
               for g in (graph, *graph.functions.values()) for name, p in g.parameters.items()}
    return Interpreter(graph, weights=weights).run(feeds)


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for rounding; where values overflow or are no numbers, they are so on both sides."""
    with np.errstate(all="ignore"):
        both = np.isfinite(found) & np.isfinite(expected) & (np.abs(expected) < 1e30)
        odd = np.isnan(found) | np.isnan(expected) | ~(np.abs(found) < 1e30) | ~(np.abs(expected) < 1e30)
        scale = max(1.0, float(np.abs(expected[both]).max(initial=0)))
        return bool((both | odd).all() and np.abs(found[both] - expected[both]).max(initial=0) <= 1e-5 * scale)


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=30)
@given(graph=graphs(), seed=st.integers(0, 2**16))
def test_a_level_keeps_the_meaning(level: str, graph: tg.Graph, seed: int) -> None:
    text = str(graph)
    optimized, _ = run_pipeline(graph, level, verify_each=True)
    assert str(graph) == text, "the given graph never changes"
    assert [(n, v.type) for n, v in optimized.outputs] == [(n, v.type) for n, v in graph.outputs]
    assert [(i.name, i.type) for i in optimized.inputs] == [(i.name, i.type) for i in graph.inputs]
    expected, found = results(graph, seed), results(optimized, seed)
    for name in expected:
        assert close(found[name], expected[name]), name
    assert tg.parse(str(optimized)) == optimized


@settings(max_examples=30)
@given(graph=graphs())
def test_a_second_run_changes_nothing(graph: tg.Graph) -> None:
    once, _ = run_pipeline(graph, "O3")
    assert str(run_pipeline(once, "O3")[0]) == str(once)


def test_factors_meet_when_what_parted_them_is_gone() -> None:
    def parted(x):
        left, right = tg.split(x * 2.0, sizes=(1, 3), axis=-1)
        return tg.concat(left, right, axis=-1) * 0.5

    graph, _ = run_pipeline(tg.trace(parted, x=tg.f32[tg.dim("B"), 4]), "O1")
    assert len(graph) == 0


def test_provenance_is_kept() -> None:
    """Each scope and line of the live nodes is still in the optimised graph, in the nodes that stand for them."""
    class Layer(tg.Module):
        def __init__(self) -> None:
            self.q, self.k, self.v = (tg.nn.Linear(8, 8) for _ in range(3))

        def __call__(self, x: tg.Tensor) -> tg.Tensor:
            q, k = self.q(x), self.k(x)
            return tg.gelu(self.v(q * k)) + tg.gelu(x @ np.ones((8, 8), np.float32)) * tg.sqrt(np.float32(64.0))

    graph = tg.trace(Layer(), x=tg.f32[tg.dim("B"), 8])
    optimized, _ = run_pipeline(graph, "fold-constants,cse,fuse-qkv,fuse-bias-activation,dce")
    folded = {"sqrt", "full", "range"}
    before = {loc for n in graph.nodes if n.op.name not in folded for loc in n.provenance.locations}
    after = {loc for n in optimized.nodes for loc in n.provenance.locations}
    assert before <= after
    assert {"q", "k", "v"} <= {s for n in optimized.nodes for s in n.provenance.scopes}
    joined = next(n for n in optimized.nodes if n.op.name == "linear")
    assert {"q", "k"} <= set(joined.provenance.scopes)
