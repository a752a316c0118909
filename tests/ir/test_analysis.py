"""Questions about a graph's shape, on small graphs by hand and on random ones against brute force."""

from __future__ import annotations

import itertools

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import graphs

from tgraph.ir.analysis import (
    critical_path,
    dominators,
    is_convex,
    liveness,
    post_dominators,
    to_networkx,
    topological_order,
)
from tgraph.ir.builder import Builder
from tgraph.ir.dims import dim
from tgraph.ir.dtypes import f32
from tgraph.ir.errors import GraphError, RuleError
from tgraph.ir.extract import extract
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse
from tgraph.ir.registry import get_op
from tgraph.ir.values import Node, Result
from tgraph.ir.verify import verify

B = dim("B")


def test_networkx_view(diamond: Graph) -> None:
    relu, mul, exp, add = diamond.nodes
    twice = Builder(diamond).mul(add.result, add.result).node
    view = to_networkx(diamond)
    assert view.nodes[relu] == {"op": "relu"} and view.edges[relu, mul]["value"] is relu.result
    assert view.edges[add, twice]["values"] == (add.result,)
    left, right = Builder(diamond).split(exp.result, sizes=(2, 2))
    concat = Builder(diamond).concat(left, right, axis=-1).node
    assert to_networkx(diamond).edges[left.node, concat]["values"] == (left, right)


@given(graphs(), st.integers(-1, 1))
def test_any_order_by_key_is_topological(graph: Graph, sign: int) -> None:
    rank = {n: sign * i for i, n in enumerate(graph.nodes)}
    order = topological_order(graph, key=rank.__getitem__)
    place = {n: i for i, n in enumerate(order)}
    assert sorted(place.values()) == list(range(len(graph)))
    for node in order:
        assert all(place[v.node] < place[node] for v in node.inputs if isinstance(v, Result))
    assert topological_order(graph) == graph.nodes


def test_liveness(diamond: Graph) -> None:
    relu, mul, exp, add = diamond.nodes
    assert liveness(diamond) == {
        diamond.inputs[0]: (-1, 0), diamond.parameters["w"]: (-1, 1), relu.result: (0, 2), mul.result: (1, 3),
        exp.result: (2, 3), add.result: (3, 4)}
    other = liveness(diamond, [relu, exp, mul, add])
    assert other[exp.result] == (1, 3) and other[relu.result] == (0, 2)
    dead = Builder(diamond).abs(exp.result)
    unused = diamond.input("unused", f32[B])
    found = liveness(diamond)
    assert found[dead] == (4, 4) and found[unused] == (-1, -1)
    diamond.set_outputs([("y", diamond.inputs[0]), ("r", relu.result)])
    found = liveness(diamond)
    assert found[diamond.inputs[0]] == (-1, len(diamond)) and found[relu.result] == (0, len(diamond))


@given(graphs())
def test_a_live_interval_covers_every_use(graph: Graph) -> None:
    place = {n: i for i, n in enumerate(graph.nodes)}
    for value, (start, end) in liveness(graph).items():
        uses = [place[n] for n in value.users] + [len(graph)] * graph.is_output(value)
        assert start == (place[value.node] if isinstance(value, Result) else -1)
        assert end == max(uses, default=start)


def test_dominators(diamond: Graph) -> None:
    relu, mul, exp, add = diamond.nodes
    assert dominators(diamond) == {relu: None, mul: relu, exp: relu, add: relu}
    assert post_dominators(diamond) == {relu: add, mul: add, exp: add, add: None}
    diamond.set_outputs([("y", add.result), ("e", exp.result)])
    assert post_dominators(diamond) == {relu: None, mul: add, exp: None, add: None}
    diamond.set_operand(add, 0, diamond.inputs[0])
    assert dominators(diamond)[add] is None
    assert dominators(Graph()) == post_dominators(Graph()) == {}


@given(graphs())
def test_dominators_cut_every_path(graph: Graph) -> None:
    inputs = set(graph.inputs)
    flow = networkx.DiGraph()
    for node in graph.nodes:
        flow.add_node(node)
        operands = [v.node for v in node.inputs if isinstance(v, Result)]
        if not operands or inputs & set(node.inputs):
            flow.add_edge("root", node)
        flow.add_edges_from((above, node) for above in operands)
    for node, nearest in dominators(graph).items():
        strict = {d for d in graph.nodes if d is not node and not _reaches(flow, node, without=d)}
        assert (nearest is None) == (not strict) and (nearest is None or nearest in strict)
        assert nearest is None or all(d is nearest or not _reaches(flow, nearest, without=d) for d in strict)


def _reaches(flow: networkx.DiGraph, node: Node, without: Node) -> bool:
    return networkx.has_path(flow.subgraph([n for n in flow if n is not without]), "root", node)


def test_critical_path(diamond: Graph) -> None:
    relu, mul, exp, add = diamond.nodes
    price = {relu: 1.0, mul: 5.0, exp: 2.0, add: 1.0}
    assert critical_path(diamond, cost=price.__getitem__) == ([relu, mul, add], 7.0)
    price[exp] = 6.0
    assert critical_path(diamond, cost=price.__getitem__) == ([relu, exp, add], 8.0)
    assert critical_path(diamond, {"B": 2})[1] == 24.0
    with pytest.raises(RuleError, match="no size known for B"):
        critical_path(diamond)
    assert critical_path(Graph()) == ([], 0.0)


@given(graphs(), st.data())
def test_critical_path_is_the_costliest_chain(graph: Graph, data: st.DataObject) -> None:
    price = {n: float(data.draw(st.integers(0, 3))) for n in graph.nodes}
    longest: dict[Node, float] = {}
    for node in graph.nodes:
        longest[node] = price[node] + max((longest[v.node] for v in node.inputs if isinstance(v, Result)), default=0.0)
    chain, cost = critical_path(graph, cost=price.__getitem__)
    assert cost == max(longest.values(), default=0.0) == sum(price[n] for n in chain)
    assert all(any(isinstance(v, Result) and v.node is a for v in b.inputs) for a, b in itertools.pairwise(chain))


def test_convexity(diamond: Graph) -> None:
    relu, mul, exp, add = diamond.nodes
    assert is_convex(diamond, []) and is_convex(diamond, diamond.nodes) and is_convex(diamond, [mul, exp])
    assert is_convex(diamond, [relu, mul]) and not is_convex(diamond, [relu, add]) and not is_convex(diamond,
                                                                                                     [relu, mul, add])


@given(graphs(), st.data())
def test_convexity_and_extraction_against_brute_force(graph: Graph, data: st.DataObject) -> None:
    nodes = graph.nodes
    chosen = {n for n in nodes if data.draw(st.booleans())}
    view = to_networkx(graph)
    between = {n for n in nodes if n not in chosen and any(a in chosen for a in networkx.ancestors(view, n))
               and any(d in chosen for d in networkx.descendants(view, n))}
    assert is_convex(graph, chosen) == (not between)
    if between or not chosen:
        with pytest.raises(GraphError, match="cannot extract 'part'"):
            extract(graph, chosen, "part")
        return
    part, arguments, results = extract(graph, chosen, "part")
    verify(part)
    assert len(part) == len(chosen) and len(part.inputs) == len(arguments) and len(part.outputs) == len(results)
    called = graph.insert(get_op("call"), arguments, {"function": part})
    assert [v.type for v in (called if isinstance(called, tuple) else (called,))] == [v.type for v in results]
    for old, new in zip(results, called if isinstance(called, tuple) else (called,)):
        graph.replace(old, new)
    for node in reversed(nodes):
        if node in chosen:
            graph.erase(node)
    verify(graph)
    assert parse(str(graph)) == graph


def test_equal_parts_of_a_graph_give_equal_functions() -> None:
    graph = Graph()
    b, x = Builder(graph), graph.input("x", f32[B, 4])
    parts = []
    for name in ("first", "second"):
        h = b.relu(b.mul(x, graph.parameter(name, f32[4])))
        x = b.add(b.mul(h, 0.5), x)
        parts.append([h.node, x.node, next(v.node for v in x.node.inputs if isinstance(v, Result)
                                           and v.node.op.name == "mul")])
    graph.set_outputs([("y", x)])
    first, second = (extract(graph, part, "part") for part in parts)
    assert first[0] == second[0] and first[0].parameters == {}
    assert str(first[0]) == """\
graph part(%x0: f32[B, 4], %x1: f32[B, 4]) -> (y0: f32[B, 4]) {
  %0 = relu(%x0) : f32[B, 4]
  %1 = mul(%0, f32(0.5)) : f32[B, 4]
  %2 = add(%1, %x1) : f32[B, 4]
  return (y0: %2)
}"""
    assert [type(v).__name__ for v in first[1]] == ["Result", "Input"] and first[2] == [parts[0][1].result]
    with pytest.raises(GraphError, match="it needs nodes of graph part"):
        extract(first[0], parts[0], "other")


def test_the_outputs_of_a_part_do_not_depend_on_who_reads_them_first() -> None:
    texts = []
    for swapped in (False, True):
        graph = Graph()
        b, x = Builder(graph), graph.input("x", f32[B, 4])
        relu, exp = b.relu(x), b.exp(x)
        graph.set_outputs([("a", exp), ("b", relu)] if swapped else [("a", relu), ("b", exp)])
        part, arguments, results = extract(graph, [relu.node, exp.node], "part")
        assert arguments == [x] and set(results) == {relu, exp}
        texts.append(str(part))
    assert texts[0] == texts[1]
