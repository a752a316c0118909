"""Parts of graphs: by scope, by node; they compute what the whole computes there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import graphs

import tgraph as tg
from tgraph.cli.models import bert
from tgraph.ir.errors import GraphError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse, parse_program
from tgraph.ir.slicing import part
from tgraph.ir.verify import verify
from tgraph.reference.inputs import generate_inputs
from tgraph.reference.interpreter import Interpreter

TEXT = """graph {}(%x: f32[B, 4], %m: f32[4]) -> (y: f32[B, 4]) {{
  param @a.w: f32[4, 4]
  %0 = linear(%x, @a.w) : f32[B, 4]  in a.dense
  %1 = add(%0, %m) : f32[B, 4]  in a
  %2 = mul(%1, f32(2.0)) : f32[B, 4]  in a.b, c
  %3 = add(%1, %2) : f32[B, 4]  in c.0
  return (y: %3)
}}"""
GRAPH = parse(TEXT.format("main"))


def test_a_scope_is_a_graph_of_what_it_reads_and_gives() -> None:
    assert GRAPH.part("a").text(scopes=True) == """\
graph main(%x: f32[B, 4], %m: f32[4]) -> (v1: f32[B, 4], v2: f32[B, 4]) {
  param @a.w: f32[4, 4]
  %0 = linear(%x, @a.w) : f32[B, 4]  in a.dense
  %1 = add(%0, %m) : f32[B, 4]  in a
  %2 = mul(%1, f32(2.0)) : f32[B, 4]  in a.b, c
  return (v1: %1, v2: %2)
}"""
    assert str(GRAPH.part("c")) == """\
graph main(%v1: f32[B, 4]) -> (y: f32[B, 4]) {
  %0 = mul(%v1, f32(2.0)) : f32[B, 4]
  %1 = add(%v1, %0) : f32[B, 4]
  return (y: %1)
}"""


def test_a_name_is_whole() -> None:
    graph = parse(TEXT.format("main").replace("in a.dense", "in ab.dense"))
    assert len(graph.part("a")) == 2 and len(graph.part("ab")) == 1


@pytest.mark.parametrize("name", [1, "1", "%1"])
def test_a_node_by_number(name: str | int) -> None:
    assert str(GRAPH.part(node=name)) == """\
graph main(%v0: f32[B, 4], %m: f32[4]) -> (v1: f32[B, 4]) {
  %0 = add(%v0, %m) : f32[B, 4]
  return (v1: %0)
}"""


def test_a_node_by_output() -> None:
    assert str(GRAPH.part(node="y")) == str(GRAPH.part(node=3))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"scope": "a.x"}, "no node of main is in the scope 'a.x'; there are a.b, a.dense"),
    ({"scope": "d"}, "no node of main is in the scope 'd'; there are a, c"),
    ({"scope": ""}, "no node of main is in the scope ''; there are a, c"),
    ({"node": 7}, "graph main has no node '7'; its values are %0 to %3, its outputs y"),
    ({"node": "x"}, "graph main has no node 'x'"),
    ({}, "give one of the two"),
    ({"scope": "a", "node": 1}, "give one of the two"),
])
def test_what_is_not_there(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(GraphError) as error:
        GRAPH.part(**arguments)
    assert message in str(error.value).replace("a.dense, a.b", "a.b, a.dense")


def test_a_typo_is_near() -> None:
    with pytest.raises(GraphError, match=r"there are encoder\.layer\.1"):
        bert("bert-tiny").part("encodr.layer.1")


def test_graphs_without_scopes_say_so() -> None:
    with pytest.raises(GraphError, match="its nodes have no scopes"):
        parse("graph main(%x: f32[4]) -> (y: f32[4]) {\n  %0 = relu(%x)\n  return (y: %0)\n}").part("a")


def test_programs_take_the_graphs_that_have_it() -> None:
    program = parse_program(TEXT.format("main") + TEXT.format("step").replace("in a", "in b").replace("a.b", "b.b"))
    assert list(program.part("a")) == ["main"] and list(program.part("c")) == ["main", "step"]
    with pytest.raises(GraphError, match="no node of main, step is in the scope 'q'; there are a, c, b"):
        program.part("q")


def test_scopes_of_onnx_have_slashes() -> None:
    graph = parse(TEXT.format("main").replace("in a.dense", 'in "/a/dense.0/MatMul"'))
    assert len(graph.part("/a/dense.0")) == len(graph.part("a/dense.0/MatMul")) == 1


def test_a_layer_computes_what_it_computes_in_the_model() -> None:
    graph = bert("bert-tiny")
    layer = graph.part("encoder.layer.1")
    feeds = generate_inputs(graph, {"B": 2, "S": 5})
    whole = graph.copy()
    (given,) = [i.name for i in layer.inputs if i.name != "mask"]
    number = int(given.removeprefix("v"))
    whole.set_outputs([*whole.outputs, (given, whole.nodes[number].results[0])])
    values = Interpreter(whole).run(feeds)
    found = Interpreter(layer).run({given: values[given].astype(np.float32), "mask": feeds["mask"]})
    assert list(found) == ["hidden"] and np.allclose(found["hidden"], values["hidden"], atol=1e-5)


@given(graphs(), st.data())
def test_parts_are_sound(graph: Graph, data: st.DataObject) -> None:
    if not len(graph):
        return
    chosen = data.draw(st.sets(st.sampled_from(range(len(graph))), min_size=1))
    nodes = [n for i, n in enumerate(graph.nodes) if i in chosen]
    made = part(graph, nodes)
    verify(made)
    assert parse(str(made)) == made and len(made) == len(nodes)
    assert sorted(n.op.name for n in made.nodes) == sorted(n.op.name for n in nodes)


def test_a_part_compiles() -> None:
    exe = tg.compile(bert("bert-tiny").part("encoder.layer.0.output"), "numpy")
    assert exe(*generate_inputs(exe.graph).values()).shape[-1] == 128
