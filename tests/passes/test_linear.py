"""Passes are near linear: what they do per node does not grow with depth."""

from __future__ import annotations

import cProfile
import functools

import pytest

import tgraph as tg
from passes import PassManager, PassRecord, optimize
from tgraph.models.bert import Bert, BertConfig


def stack(layers: int) -> tg.Graph:
    """A BERT of tiny sizes."""
    config = BertConfig(hidden_size=8, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=16, vocab_size=50)
    batch, length = tg.dim("B"), tg.dim("S", max=512)
    return tg.trace(Bert(config), input_ids=tg.i64[batch, length].range(0, 50), mask=tg.bool_[batch, length])


@functools.cache
def records(layers: int, pipeline: str) -> list[PassRecord]:
    manager = PassManager(pipeline)
    manager.run(stack(layers))
    return manager.records


def totals(layers: int, pipeline: str) -> tuple[float, float]:
    """Attempts to match, and rewrites, by node of the pass's input."""
    found = records(layers, pipeline)
    nodes = sum(r.nodes_before for r in found)
    return sum(r.attempts for r in found) / nodes, sum(sum(r.rewrites.values()) for r in found) / nodes


@pytest.mark.parametrize("pipeline", ["O3", "decompose,O3"])
def test_attempts_and_rewrites_per_node_do_not_grow(pipeline: str) -> None:
    pipeline = pipeline.replace("O3", tg.passes.LEVELS["O3"])
    depths = (12, 48, 192) if "decompose" not in pipeline else (3, 12, 48)
    attempts, rewrites = zip(*(totals(layers, pipeline) for layers in depths))
    assert attempts[0] > 0.1 and rewrites[0] > 0
    for deeper in (1, 2):
        assert attempts[deeper] <= 1.05 * attempts[0], attempts
        assert rewrites[deeper] <= 1.05 * rewrites[0], rewrites


def test_each_pass_alone_does_not_grow() -> None:
    pipeline = f"decompose,{tg.passes.LEVELS['O3']}"
    for shallow, deep in zip(records(12, pipeline), records(48, pipeline)):
        assert shallow.name == deep.name
        assert deep.attempts / deep.nodes_before <= 1.1 * shallow.attempts / shallow.nodes_before + 0.1, deep.name
        assert sum(deep.rewrites.values()) / deep.nodes_before <= (
            1.1 * sum(shallow.rewrites.values()) / shallow.nodes_before + 0.1), deep.name


@pytest.mark.parametrize("what", ["O3", "decompose", "kernels"])
def test_work_per_node_does_not_grow(what: str) -> None:
    """Calls of functions, which count what no report does: plain code, outlining, convexity, copies."""

    def calls(layers: int) -> float:
        graph = stack(layers)
        if what == "kernels":
            from targets.lowering.pipeline import kernel_graph

            target = tg.targets.Target.parse("cpu:x86-64-v3")
            run = lambda: kernel_graph(graph, target)
        else:
            run = lambda: optimize(graph, what)
        run()  # what is done once a process
        profile = cProfile.Profile()
        profile.runcall(run)
        return sum(entry.callcount for entry in profile.getstats()) / len(graph)

    shallow, deep = calls(6), calls(24)
    assert deep <= 1.1 * shallow, (shallow, deep)


def test_depth_alone_multiplies_the_result() -> None:
    for level in ("O1", "O2", "O3"):
        first, second, third = (len(optimize(stack(n), level)) for n in (1, 2, 3))
        assert third - second == second - first
