"""The graph and the one way to change it: use-lists, replace, erase, inline, copy, equality, order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import SHAPE, graphs

import tgraph.ops  # noqa: F401  (the table of ops)
from tgraph.ir import determined
from tgraph.ir.builder import Builder
from tgraph.ir.determined import sizes_of
from tgraph.ir.dims import Dim, dim
from tgraph.ir.dtypes import bf16, bool_, f32, f64, i64
from tgraph.ir.errors import GraphError, OpError, RuleError
from tgraph.ir.graph import Graph
from tgraph.ir.location import Location, Provenance
from tgraph.ir.parser import parse
from tgraph.ir.registry import OPS, get_op
from tgraph.ir.types import TensorType
from tgraph.ir.values import Node, Result
from tgraph.ir.verify import verify
from tgraph.reference.interpreter import run

B, S = dim("B"), dim("S")


def assert_uses_are_right(graph: Graph) -> None:
    """Every use-list says exactly what the operands say."""
    expected: dict[object, set[tuple[int, int]]] = {}
    for node in graph._nodes:
        for position, operand in enumerate(node.operands):
            if operand is not None:
                expected.setdefault(operand, set()).add((id(node), position))
    values = [*graph.inputs, *graph.parameters.values(), *graph.constants.values(),
              *(r for n in graph._nodes for r in n.results)]
    for value in values:
        assert {(id(n), p) for n, p in value.uses} == expected.pop(value, set())
    assert not expected


@given(graphs(), st.data())
def test_use_lists_survive_random_changes(graph: Graph, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 6))):
        nodes = graph.nodes
        position = {n: i for i, n in enumerate(nodes)}
        results = [r for n in nodes for r in n.results if r.type == TensorType(f32, SHAPE)]
        step = data.draw(st.sampled_from(["insert", "replace", "set", "erase", "prune", "outputs"]))
        if step == "insert":
            operand = data.draw(st.sampled_from([*graph.inputs, *results]))
            Builder(graph).tanh(operand)
        elif step == "replace" and results:
            old = data.draw(st.sampled_from(results))
            earlier = [v for v in results if position[v.node] < position[old.node]]
            graph.replace(old, data.draw(st.sampled_from([*graph.inputs, *earlier])))
            assert not old.uses and not graph.is_output(old)
        elif step == "set" and nodes:
            node = data.draw(st.sampled_from(nodes))
            place = next((i for i, v in enumerate(node.operands) if v is not None
                          and v.type == TensorType(f32, SHAPE)), None)
            if place is not None:
                graph.set_operand(node, place, data.draw(st.sampled_from(graph.inputs)))
        elif step == "erase":
            dead = [n for n in nodes if not any(r.uses or graph.is_output(r) for r in n.results)]
            for node in dead:
                graph.erase(node)
                assert node not in graph
        elif step == "prune":
            graph.prune()
            assert all(p.uses or graph.is_output(p) for p in graph.parameters.values())
        elif step == "outputs":
            graph.set_outputs([("only", data.draw(st.sampled_from([*graph.inputs, *results])))])
        assert_uses_are_right(graph)
        verify(graph)
        assert parse(str(graph)) == graph


@given(graphs())
def test_a_copy_is_equal_and_independent(graph: Graph) -> None:
    before = graph.text(scopes=True, locations=True)
    twin = graph.copy()
    assert twin == graph and twin.text(scopes=True, locations=True) == before
    assert twin.weights is graph.weights and graph.copy("other").name == "other"
    assert_uses_are_right(twin)
    for node in reversed(twin.nodes):
        for result in node.results:
            if result.type == TensorType(f32, SHAPE):
                twin.replace(result, twin.inputs[0])
    twin.set_outputs([("other", twin.inputs[0])])
    for node in reversed(twin.nodes):
        twin.erase(node)
    twin.prune()
    assert len(twin) == 0
    assert graph.text(scopes=True, locations=True) == before
    verify(graph)


@given(graphs())
def test_operands_come_before_users(graph: Graph) -> None:
    position = {n: i for i, n in enumerate(graph.nodes)}
    assert len(position) == len(graph)
    for node in position:
        for operand in node.inputs:
            assert not isinstance(operand, Result) or position[operand.node] < position[node]


def test_the_order_of_insertion_does_not_show() -> None:
    texts = []
    for first, second in (("mul", "exp"), ("exp", "mul")):
        graph = Graph()
        b, x = Builder(graph), graph.input("x", f32[B, 4])
        made = {}
        for name in (first, second):
            made[name] = b.mul(x, graph.parameter("w", f32[4])) if name == "mul" else b.exp(x)
        graph.set_outputs([("y", b.add(made["mul"], made["exp"]))])
        texts.append(str(graph))
    assert texts[0] == texts[1]


def test_equality_is_up_to_names_of_values_scopes_and_places(diamond: Graph) -> None:
    text = str(diamond)
    renamed = text
    for i in range(4):
        renamed = renamed.replace(f"%{i}", f"%value_{i}")
    other = parse(renamed.replace("  return", "  in scope at model.py:3\n  return"))
    assert other == diamond and other.fingerprint == diamond.fingerprint and (other != diamond) is False
    for old, new in (("relu", "abs"), ("%x", "%z"), ("@w", "@v"), ("y:", "z:"), ("add(%1, %2)", "add(%2, %1)"),
                     ("[B, 4]", "[S, 4]"),
                     ("graph main", "graph other")):
        changed = parse(text.replace(old, new))
        assert changed != diamond and changed.fingerprint != diamond.fingerprint, (old, new)
    assert diamond != text and len({diamond, other}) == 2


def test_weights_ranges_and_bounds_in_equality(diamond: Graph) -> None:
    twin = diamond.copy()
    twin.weights.set("w", np.ones(4, np.float32))
    assert twin == diamond
    head = "graph g(%x: i64[B]{}) -> (x: i64[B]){} {{\n  return (x: %x)\n}}"
    assert parse(head.format(".range(0, 5)", "")) == parse(head.format("", ""))
    assert parse(head.format("", " where B <= 5")) != parse(head.format("", ""))


def test_replace_keeps_and_refuses(diamond: Graph) -> None:
    relu, mul, exp, add = diamond.nodes
    diamond.replace(relu.result, diamond.inputs[0], keep=[mul])
    assert mul.operands[0] is relu.result and exp.operands[0] is diamond.inputs[0]
    diamond.replace(add.result, add.result)
    diamond.replace(add.result, exp.result)
    assert diamond.outputs == [("y", exp.result)]
    for other in (Builder(diamond).cast(mul.result, dtype=f64),
                  Builder(diamond).reshape(mul.result, shape=(4 * dim("B"),)),
                  Builder(diamond).expand(diamond.constant(1.0, f32), shape=(B, 5))):
        with pytest.raises(GraphError, match=r"cannot replace a value of type f32\[B, 4\]"):
            diamond.replace(mul.result, other)
    assert_uses_are_right(diamond)


def test_replace_may_change_one_name_of_a_dim_for_another() -> None:
    graph = Graph()
    x, y = graph.input("x", f32[B]), graph.input("y", f32[S])
    graph.set_outputs([("y", Builder(graph).relu(x))])
    graph.replace(x, y)
    assert graph.nodes[0].operands == (y,)
    graph.constrain(B + 1, S)
    with pytest.raises(GraphError):
        graph.replace(y, x)


def test_erase_refuses_what_is_used(diamond: Graph) -> None:
    relu, _, _, add = diamond.nodes
    for node in (relu, add):
        with pytest.raises(GraphError, match=f"cannot erase {node.op.name}: its result is still used"):
            diamond.erase(node)
    diamond.set_outputs([])
    diamond.erase(add)
    with pytest.raises(GraphError, match="cannot erase add: it is not in graph main"):
        diamond.erase(add)
    assert len(diamond) == 3 and add not in diamond
    assert_uses_are_right(diamond)


def test_set_operand(diamond: Graph) -> None:
    relu, mul, _, add = diamond.nodes
    diamond.set_operand(add, 1, mul.result)
    assert list(mul.result.uses) == [(add, 0), (add, 1)] and mul.result.users == [add]
    for position in (-1, 2):
        with pytest.raises(GraphError, match=f"add has no operand {position}"):
            diamond.set_operand(add, position, relu.result)
    norm = Builder(diamond).layer_norm(add.result, diamond.parameters["w"]).node
    diamond.set_operand(norm, 1, None)
    assert norm.inputs == (add.result,) and str(diamond).count("layer_norm(%2)") == 1
    assert_uses_are_right(diamond)


def test_a_cycle_is_an_error(diamond: Graph) -> None:
    relu, _, _, add = diamond.nodes
    diamond.set_operand(relu, 0, add.result)
    with pytest.raises(GraphError, match="graph main has a cycle through"):
        diamond.nodes


def test_leaves() -> None:
    graph = Graph("g")
    graph.input("x", f32[B])
    w = graph.parameter("w", f32[4])
    assert graph.parameter("w", f32[4]) is w
    with pytest.raises(GraphError, match="two inputs named 'x'"):
        graph.input("x", f32[B])
    with pytest.raises(GraphError, match=r"parameter 'w' is f32\[4\] here and f32\[5\] there"):
        graph.parameter("w", f32[5])
    with pytest.raises(GraphError, match="symbolic shape"):
        graph.parameter("v", f32[B])
    with pytest.raises(GraphError, match=r"dim B has bounds 0\.\.None here and 0\.\.7 there"):
        graph.input("y", f32[dim("B", max=7)])
    with pytest.raises(GraphError, match="two outputs named 'y'"):
        graph.set_outputs([("y", w), ("y", w)])


def test_constants_are_one_object_a_content() -> None:
    graph = Graph()
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    one = graph.constant(data)
    assert graph.constant(data.copy()) is one
    assert graph.constant(np.asfortranarray(data)) is one and graph.constant(data.astype(">f4")) is one
    assert one.data is not None and one.data.dtype == np.dtype("float32") and one.data.dtype.isnative
    assert graph.constant(data.reshape(3, 2)) is not one and graph.constant(data.astype(np.float64)) is not one
    assert graph.constant(-0.0, f32) is not graph.constant(0.0, f32)
    assert (graph.constant(1).type, graph.constant(1.0).type, graph.constant(1.5, bf16).type) == (
        TensorType(i64), TensorType(f64), TensorType(bf16))
    data[0, 0] = 9
    assert one.data[0, 0] == 0 and not one.data.flags.writeable
    opaque = graph.opaque_constant(f32[2, 3], one.digest)
    assert opaque is one
    late = graph.opaque_constant(f32[20], "0" * 64)
    assert late.data is None and graph.constant(data) is not late


def test_a_refused_node_leaves_no_trace(diamond: Graph) -> None:
    before, x = str(diamond), diamond.inputs[0]
    y = diamond.input("y", f32[S, 5])
    here = Provenance(("encoder",), (Location("model.py", 7),))
    with pytest.raises(OpError, match=r"add\(f32\[B, 4\], f32\[S, 5\]\)[\s\S]*in encoder at model.py:7") as caught:
        Builder(diamond, here).add(x, y)
    assert (caught.value.op, caught.value.provenance) == ("add", here)
    with pytest.raises(GraphError, match="dim B has bounds"):
        Builder(diamond).expand(y, shape=(dim("B", max=3), S, 5))
    with pytest.raises(OpError, match="unknown attribute 'axes'"):
        diamond.insert(get_op("relu"), [x], {"axes": 3})
    diamond.inputs.remove(y)
    assert str(diamond) == before and not diamond.constraints
    assert_uses_are_right(diamond)


@given(st.sampled_from(sorted(OPS)), st.data())
def test_no_operands_and_attributes_crash_a_rule(name: str, data: st.DataObject) -> None:
    graph, op = Graph(), get_op(name)
    types = st.sampled_from([f32[B, S, 4], i64[B, S], bool_[B, S], f32[4], TensorType(f32), f32[0, 3]])
    odd = st.sampled_from([-1, 0, 3, 10**20, True, None, "x", "", 0.5, float("nan"), (), (1, "a"), (0, 1, 2), B,
                           (B, -1), f32, graph])
    count = data.draw(st.integers(0, 3)) if op.variadic else len(op.operands)
    operands = [graph.input(f"x{i}", data.draw(types)) for i in range(count)]
    try:
        result = graph.insert(op, operands, {key: data.draw(odd) for key in op.attributes})
    except OpError as error:
        assert error.op == name and name in str(error)
    else:
        assert isinstance(result, (Result, tuple))


def test_attributes_are_plain_python() -> None:
    graph = Graph()
    x = graph.input("x", f32[B, 4])
    first = Builder(graph).softmax(x, axis=np.int64(-1)).node
    second = Builder(graph).reshape(x, shape=[np.int32(4), B]).node
    assert type(first.attrs["axis"]) is int and second.attrs["shape"] == (4, B)
    graph.set_outputs([("a", first.result), ("b", second.result)])
    assert str(parse(str(graph))) == str(graph)


def test_constraints() -> None:
    graph = Graph()
    x, y, z = (graph.input(n, f32[dim(d)]) for n, d in (("x", "B"), ("y", "S"), ("z", "T")))
    b = Builder(graph)
    assert b.add(x, y).type == f32[B]
    assert graph.constraints == [(B, S)]
    b.add(y, x)
    assert graph.constraints == [(B, S)]  # known, in whatever order
    b.add(y, z)
    b.add(x, z)
    assert len(graph.constraints) == 2
    graph.constrain(B, dim("T"))
    assert len(graph.constraints) == 2
    with pytest.raises(RuleError, match="can never hold"):
        graph.constrain(B, dim("T") + 1)


def test_inline_substitutes_dims() -> None:
    callee = parse("""\
graph callee(%x: f32[N, 4], %mask: f32[N]) -> (y: f32[4*N], w: f32[4]) {
  param @w: f32[4]
  %0 = reshape(%x, shape=[4*N]) : f32[4*N]
  return (y: %0, w: @w)
}""")
    graph = Graph()
    x, mask = graph.input("x", f32[B + 1, 4]), graph.input("m", f32[B + 1])
    here = Provenance(("inlined",))
    y, w = graph.inline(callee, [x, mask], here)
    assert y.type == f32[4 * B + 4] and w is graph.parameters["w"]
    assert graph.nodes[0].provenance == here and graph.nodes[0].attrs["shape"] == (4 * B + 4,)
    graph.set_outputs([("y", y), ("w", w)])
    verify(graph)
    assert "where" not in str(graph)
    with pytest.raises(RuleError, match=r"expected f32\[N, 4\], got f32\[B\+1\]"):
        graph.inline(callee, [mask, mask])
    with pytest.raises(RuleError, match=r"N.*B\+1 != B\+3|B\+1 != B\+3"):
        graph.inline(callee, [x, graph.input("bad", f32[B + 3])])


@given(graphs(functions=False), st.data())
def test_a_call_and_its_inlined_body_agree(callee: Graph, data: st.DataObject) -> None:
    graph = Graph("caller", callee.weights)
    arguments = [graph.input(f"a{i}", TensorType(f32, SHAPE)) for i in range(len(callee.inputs))]
    called = graph.insert(get_op("call"), arguments, {"function": callee})
    called = called if isinstance(called, tuple) else (called,)
    inlined = graph.inline(callee, arguments)
    assert [v.type for v in called] == [v.type for v in inlined]
    graph.set_outputs([*((f"c{i}", v) for i, v in enumerate(called)), *((f"i{i}", v) for i, v in enumerate(inlined))])
    verify(graph)
    assert parse(str(graph)) == graph


def test_cost_and_views(diamond: Graph) -> None:
    relu, mul, exp, add = diamond.nodes
    assert diamond.flops == relu.flops + mul.flops + exp.flops + add.flops
    assert add.flops == 4 * B and relu.nbytes == 32 * B
    assert repr(diamond) == "<graph main: 4 nodes, 1 parameters>"
    assert set(diamond.to_networkx().edges) == {(relu, mul), (relu, exp), (mul, add), (exp, add)}
    with pytest.raises(GraphError, match="split has 2 results"):
        Builder(diamond).split(relu.result, sizes=(1, 3))[0].node.result


def test_a_data_dependent_dim_is_a_dependence() -> None:
    graph = Graph()
    b = Builder(graph)
    mask = graph.input("mask", bool_[B, S])
    rows, _ = b.unpack(mask)
    numbers = b.range(stop=rows.shape[0], dtype=i64)
    graph.set_outputs([("numbers", numbers), ("rows", rows)])  # in an order that asks for the size before there is one
    assert [n.op.name for n in graph.nodes] == [n.op.name for n in graph.copy().nodes] == ["unpack", "range"]
    graph.set_outputs([("numbers", numbers)])
    assert graph.is_needed(rows.node)
    verify(graph)
    assert parse(str(graph)) == graph
    graph.set_outputs([("mask", mask)])
    assert not graph.is_needed(numbers.node)
    graph.erase(numbers.node)
    assert not graph.is_needed(rows.node)


def test_a_data_dependent_dim_that_a_call_must_check_is_needed() -> None:
    """Nothing reads the rows, but that they are as many as the elements of x is said in the graph's header."""
    graph = Graph()
    b = Builder(graph)
    rows, _ = b.unpack(graph.input("mask", bool_[B, S]))
    x = graph.input("x", i64[4])
    unread = b.add(rows, x)
    graph.set_outputs([("x", x)])
    graph.erase(unread.node)
    assert graph.constraints and graph.is_needed(rows.node)
    graph.constraints.clear()
    assert not graph.is_needed(rows.node)


def test_what_is_required_of_a_size_goes_with_the_node_that_makes_it() -> None:
    graph = parse("""graph g(%mask: bool[B, S], %z: i64[8]) -> (y: i64[8]) where N == 8, S == 8 {
  %rows, %offsets = unpack(%mask) : (i64[N], i64[B + 1])
  %used = add(%rows, %z) : i64[N]
  %y = neg(%z) : i64[8]
  return (y: %y)
}""")
    assert [str(a) for a, _ in graph.constraints] == ["N", "S"]
    unused = next(n for n in graph.nodes if n.op.name == "add")
    graph.erase(unused)
    assert len(graph.constraints) == 2, "its node may fail yet"
    graph.erase(unused.inputs[0].node)  # type: ignore[attr-defined]
    verify(graph)
    assert [str(a) for a, _ in graph.constraints] == ["S"]


def test_a_data_dependent_dim_within_a_function_is_a_dependence() -> None:
    """The functions mention the size, no operand of theirs says it, and the call is added before the node that makes it."""
    inner, outer, graph = Graph("inner"), Graph("outer"), Graph()
    inner.set_outputs([("count", Builder(inner).dim_size(size=dim("N"), dtype=i64))])
    outer.set_outputs([("count", Builder(outer).call(function=inner))])
    b = Builder(graph)
    count = b.call(function=outer)
    rows, _ = b.unpack(graph.input("mask", bool_[B, S]))
    graph.set_outputs([("count", count)])
    assert [str(d) for d in outer.outer_dims] == ["N"] and not graph.outer_dims
    assert [n.op.name for n in graph.nodes] == [n.op.name for n in graph.copy().nodes] == ["unpack", "call"]
    assert graph.is_needed(rows.node)
    assert run(graph, {"mask": np.eye(3, dtype=bool)})["count"] == 3
    outer.set_outputs([("count", Builder(outer).unpack(outer.input("mask", bool_[B, S]), name="N")[0])])
    assert not outer.outer_dims, "a function that changed makes the size itself"


def test_the_order_asks_each_function_once(monkeypatch: pytest.MonkeyPatch) -> None:
    function, graph = Graph("f"), Graph()
    b = Builder(function)
    total = b.dim_size(size=dim("N"), dtype=i64)
    for _ in range(20):
        total = b.add(total, 1)
    function.set_outputs([("y", total)])
    b = Builder(graph)
    b.unpack(graph.input("mask", bool_[B, S]))
    graph.set_outputs([(f"y{i}", b.call(function=function)) for i in range(20)])
    asked = 0

    def counted(node: Node) -> list[Dim]:
        nonlocal asked
        asked += 1
        return sizes_of(node)

    monkeypatch.setattr(determined, "sizes_of", counted)
    assert len(graph.nodes) == 21
    assert asked == len(function)
