"""Graphs that several tests of the IR start from."""

from __future__ import annotations

import pytest

from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse

DIAMOND = """\
graph main(%x: f32[B, 4]) -> (y: f32[B, 4]) {
  param @w: f32[4]
  %0 = relu(%x) : f32[B, 4]
  %1 = mul(%0, @w) : f32[B, 4]
  %2 = exp(%0) : f32[B, 4]
  %3 = add(%1, %2) : f32[B, 4]
  return (y: %3)
}"""


@pytest.fixture
def diamond() -> Graph:
    """relu, then mul and exp side by side, then add."""
    return parse(DIAMOND)
