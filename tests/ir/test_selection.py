"""Nodes by value, scope, source line and op."""

from __future__ import annotations

import pytest

import tgraph as tg
from tgraph.ir.selection import select

GRAPH = tg.parse("""
graph g(%x: f32[B, 8]) -> (y: f32[B, 8]) {
  param @w: f32[8, 8]
  %0 = linear(%x, @w) : f32[B, 8]  in encoder.layer.0.query at model.py:3
  %1 = gelu(%0) : f32[B, 8]  in encoder.layer.0 at model.py:4
  %2, %3 = split(%1, axis=1, sizes=[4, 4]) : (f32[B, 4], f32[B, 4])  in encoder.layer.10 at model.py:5
  %4 = concat(%2, %3, axis=1) : f32[B, 8]  in encoder.layer.10 at model.py:4
  %5 = gelu(%4) : f32[B, 8]  in encoder.layer.1
  return (y: %5)
}
""")


@pytest.mark.parametrize(("pattern", "ops"), [
    ("%0", "linear"), ("%3", "split"), ("encoder.layer.0", "linear gelu"), ("encoder.layer.1", "gelu"),
    ("encoder.layer.?", "linear gelu gelu"), ("encoder", "linear gelu split concat gelu"), ("*.query", "linear"),
    ("model.py:4", "gelu concat"), ("gelu", "gelu gelu"), ("%4,linear, %0", "linear concat"), ("s*t", "split"),
    ("encoder.layer.*.gelu", "gelu gelu"), ("*.10.c*", "concat"), ("y", "gelu"), ("*", "linear gelu split concat gelu"),
])
def test_select(pattern: str, ops: str) -> None:
    assert [n.op.name for n in select(GRAPH, pattern)] == ops.split()


@pytest.mark.parametrize(("pattern", "message"), [
    ("encoder.layer.11", "near are encoder.layer.1"), ("%9", "has no node '%9'; its values are %0 to %5"),
    ("model.py:9", "near are model.py:"),
    ("gelo", "near are gelu"), (" , ", "names no node"),
])
def test_what_is_not_there(pattern: str, message: str) -> None:
    with pytest.raises(tg.GraphError, match=message):
        select(GRAPH, pattern)


def test_scopes_of_onnx_have_slashes() -> None:
    graph = tg.parse(str(GRAPH.text(scopes=True)).replace("encoder.layer.0.query", '"/encoder/layer.0/query/MatMul"'))
    assert [n.op.name for n in select(graph, "/encoder/layer.0/query")] == ["linear"]
    assert select(graph, "encoder/layer.0") == select(graph, "/encoder/*/MatMul") == graph.nodes[:1]
