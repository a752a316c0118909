"""What the tests of the formats write and read."""

from __future__ import annotations

import numpy as np
import pytest

from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.location import Location, Provenance
from tgraph.ir.parser import parse, parse_program
from tgraph.ir.program import Program

FUNCTION = """\
function $scale(%x: f32[N, 4]) -> (y: f32[N, 4]) {
  param @gain: f32[4]
  %0 = mul(%x, @gain) : f32[N, 4]
  return (y: %0)
}

"""
GRAPH = """\
graph {}(%x: f32[B, 4], %ids: i64[B].range(0, 20)) -> (y: f32[B, 4]) where B <= 64 {{
  param @w: f32[4, 4]
  %0 = call $scale(%x) : f32[B, 4]
  %1 = linear(%0, @w) : f32[B, 4]
  %2 = softmax(%1, axis=-2) : f32[B, 4]
  return (y: %2)
}}"""


def text(name: str) -> str:
    return FUNCTION + GRAPH.format(name)


@pytest.fixture
def model() -> Graph:
    """A graph with a function, parameters with data, a shared one, and constants of all sizes."""
    graph = parse(text("model"))
    b = Builder(graph, Provenance(("head",), (Location("model.py", 3),)))
    table = graph.constant(np.arange(80, dtype=np.float32).reshape(20, 4))
    y = b.add(b.embedding(graph.inputs[1], table), graph.outputs[0][1])
    y = b.mul(b.add(y, np.array([0.1, -np.inf, np.inf, 1e-7], np.float32)), float("nan"))
    graph.set_outputs([("y", y)])
    graph.weights.set("w", np.arange(16, dtype=np.float32).reshape(4, 4))
    graph.weights.set("gain", np.ones(4, np.float32))
    graph.weights.aliases["tied.w"] = "w"
    return graph


@pytest.fixture
def two_graphs() -> Program:
    """Two graphs that share a function and parameters."""
    return parse_program(text("encode") + "\n" + GRAPH.format("step"))
