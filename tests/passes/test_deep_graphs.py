"""Graphs deeper than Python's stack, and wide ones: no stage before kernels, and no pass, walks a graph by calling itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from passes import PASSES
from passes.debug.validation import counterparts
from tgraph.ir import analysis
from tgraph.ir.difference import difference
from tgraph.ir.extract import extract

B, S = tg.dims("B S")
DEEP, WIDE = sys.getrecursionlimit() + 200, 1000  # nodes one behind the other, and beside each other
HEADS = tg.f32[B, 2, S, 4]


def chain(x: Any) -> Any:
    for i in range(DEEP // 2):
        x = tg.tanh(x) * 1.01 if i % 2 else tg.relu(x) + 0.5
    return x


def branches(x: Any) -> Any:
    return sum(tg.tanh(x * float(i)) for i in range(WIDE))


def joined(x: Any) -> Any:
    return tg.concat(*[tg.tanh(x * float(i)) for i in range(WIDE)], axis=1)


def products(x: Any, w: Any) -> Any:
    for _ in range(DEEP // 4):
        x = tg.softmax(tg.linear(x, w)) * 2.0 + x
    return x


def moves(x: Any, w: Any) -> Any:
    """Between two products nothing but views."""
    x = tg.linear(x, w)
    for _ in range(DEEP // 4):
        x = x.transpose(1, 0).reshape(4, -1, 1).transpose(1, 0, 2)[:, :, 0]
    return tg.linear(x, w)


def conditions(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """Attention under a mask that is a long chain of conditions."""
    allowed = mask
    for i in range(DEEP // 2):
        allowed = ~~allowed & mask if i % 2 else mask & allowed
    scores = tg.where(allowed[:, None, None, :], q @ k.transpose(0, 1, 3, 2), -float("inf"))
    return tg.zero_padding((tg.softmax(scores) @ v).transpose(0, 2, 1, 3), allowed)


def biases(q: Any, k: Any, v: Any, bias: Any) -> Any:
    """Attention with a bias that is a long sum, and a causal mask of positions that are one."""
    total, row = bias, tg.range(stop=S)
    for i in range(DEEP):
        total, row = total + i * 1e-6, row + 1
    scores = q @ k.transpose(0, 1, 3, 2) + total
    return tg.softmax(tg.where(tg.range(stop=S)[None, :] <= row[:, None], scores, -float("inf"))) @ v


def turned(x: Any, angles: Any) -> Any:
    """Rotary tables that a long chain of rowwise ops makes."""
    for _ in range(DEEP):
        angles = angles * 1.0001
    table = tg.concat(angles, angles, axis=-1)
    for _ in range(DEEP):
        table = tg.cos(table)
    return x * table + tg.concat(-x[..., 2:], x[..., :2], axis=-1) * table


GRAPHS: dict[str, tuple[Callable[..., Any], list[tg.TensorType]]] = {
    "chain": (chain, [tg.f32[B, 4]]), "branches": (branches, [tg.f32[B, 4]]), "joined": (joined, [tg.f32[B, 4]]),
    "products": (products, [tg.f32[B, 4], tg.f32[4, 4]]), "moves": (moves, [tg.f32[B, 4], tg.f32[4, 4]]),
    "conditions": (conditions, [HEADS, HEADS, HEADS, tg.bool_[B, S]]), "biases": (biases, [HEADS] * 3 + [tg.f32[S, S]]),
    "turned": (turned, [tg.f32[S, 4], tg.f32[S, 2]]),
}
OPTIONS = {"remove-padding": "{mask=mask}", "mixed-precision": "{activations=true}"}


@pytest.fixture(scope="module", params=GRAPHS)
def graph(request: pytest.FixtureRequest) -> tg.Graph:
    model, types = GRAPHS[request.param]
    return tg.trace(model, *types)


def test_forms(graph: tg.Graph, tmp_path: Path) -> None:
    assert tg.parse(str(graph)) == graph
    tg.verify(graph)
    assert graph.copy() == graph and not difference(graph, graph.copy())
    for suffix in (".json", ".tg", ".svg", ".dot"):
        graph.dump(tmp_path / f"graph{suffix}")
    assert tg.read(tmp_path / "graph.json") == graph
    assert graph.functions == {} and graph.flops is not None


def test_analyses(graph: tg.Graph) -> None:
    nodes = graph.nodes
    for ask in (analysis.to_networkx, analysis.liveness, analysis.dominators, analysis.post_dominators, analysis.prepared):
        ask(graph)
    assert analysis.topological_order(graph, lambda n: 0)
    assert analysis.critical_path(graph, {"B": 2, "S": 3})[0]
    part, _, _ = extract(graph, nodes[:len(nodes) // 2], "half")
    assert len(part) == len(nodes) // 2
    assert len(counterparts(graph, graph.copy())) >= len(nodes)


def test_reference(graph: tg.Graph) -> None:
    feeds = tg.reference.generate_inputs(graph)
    expected = tg.reference.run(graph, feeds)
    with np.errstate(all="ignore"):
        assert np.allclose(tg.compile(graph, "numpy", level="O0")(**feeds), expected["output"], atol=1e-3, equal_nan=True)


def test_passes(graph: tg.Graph) -> None:
    """Each on the graph as it is, so that no pass sees only what others left of it."""
    ours = [n for n, cls in PASSES.items() if cls.__module__.startswith("passes.")]  # those of lowering are for each other
    names = [n for n in ours if n != "remove-padding" or graph.name == "conditions"]
    for name in names:
        result = tg.optimize(graph, f"{name}{OPTIONS.get(name, '')}")
        if result != graph:
            tg.verify(result)
    tg.verify(tg.optimize(graph, "O3"))


def test_functions_that_share_functions() -> None:
    inner = tg.trace(lambda x: -x, x=tg.f32[B], name="f0")
    for i in range(1, 60):  # two calls each: the tree of calls has 2^60 leaves
        outer = tg.Graph(f"f{i}")
        b = tg.ir.builder.Builder(outer)
        x = outer.input("x", tg.f32[B])
        outer.set_outputs([("y", b.call(b.call(x, function=inner), function=inner))])
        inner = outer
    assert len(inner.functions) == 59
    tg.verify(inner)
    assert tg.parse(str(inner)) == inner
