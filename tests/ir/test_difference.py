"""Structural difference: empty exactly for equal graphs, small for small edits, whatever the numbering."""

from __future__ import annotations

from hypothesis import given
from random_graphs import graphs

import tgraph as tg
from tgraph.ir.difference import difference, match


def parse(*lines: str, signature: str = "(%x: f32[B, 8], %z: f32[B, 8]) -> (y: f32[B, 8])") -> tg.Graph:
    return tg.parse(f"graph g{signature} {{\n" + "".join(f"  {line}\n" for line in lines) + "}")


CHAIN = parse("%0 = relu(%x) : f32[B, 8]", "%1 = tanh(%0) : f32[B, 8]", "%2 = exp(%1) : f32[B, 8]", "%3 = neg(%2) : f32[B, 8]",
              "return (y: %3)")


@given(graphs(), graphs())
def test_empty_if_and_only_if_equal(a: tg.Graph, b: tg.Graph) -> None:
    assert not difference(a, a.copy()) and difference(a, a.copy()).same == len(a)
    assert bool(difference(a, b)) == (a != b)


@given(graphs(), graphs())
def test_nodes_are_matched_at_most_once_and_by_op(a: tg.Graph, b: tg.Graph) -> None:
    pairs = match(a, b)
    assert len(set(pairs.values())) == len(pairs)
    assert all(x in a and y in b and x.op is y.op for x, y in pairs.items())
    found = difference(a, b)
    if a != b:
        assert found.same + found.count("changed") + found.count("removed") == len(a)
        assert found.same + found.count("changed") + found.count("added") == len(b)


def test_an_inserted_node_is_one_addition() -> None:
    longer = parse("%0 = relu(%x) : f32[B, 8]", "%1 = tanh(%0) : f32[B, 8]", "%2 = abs(%1) : f32[B, 8]",
                   "%3 = exp(%2) : f32[B, 8]", "%4 = neg(%3) : f32[B, 8]", "return (y: %4)")
    found = difference(CHAIN, longer)
    assert (found.same, found.count("added"), found.count("removed")) == (3, 1, 0)
    added, changed = found.nodes
    assert added.after == "%2 = abs(%1) : f32[B, 8]"
    assert (changed.before, changed.after) == ("%2 = exp(%1) : f32[B, 8]", "%3 = exp(%2) : f32[B, 8]")
    back = difference(longer, CHAIN)
    assert (back.same, back.count("added"), back.count("removed")) == (3, 0, 1)


def test_two_edits_leave_what_is_between_them() -> None:
    other = parse("%0 = abs(%x) : f32[B, 8]", "%1 = tanh(%0) : f32[B, 8]", "%2 = exp(%1) : f32[B, 8]",
                  "%3 = sigmoid(%2) : f32[B, 8]", "return (y: %3)")
    found = difference(CHAIN, other)
    assert (found.same, found.count("removed"), found.count("added")) == (1, 2, 2)
    assert [c.before for c in found.nodes if c.kind == "changed"] == ["%1 = tanh(%0) : f32[B, 8]"]


def test_changed_attributes_and_operands() -> None:
    a = parse("%0 = softmax(%x) : f32[B, 8]", "%1 = add(%0, %z) : f32[B, 8]", "return (y: %1)")
    b = parse("%0 = softmax(%x, axis=-2) : f32[B, 8]", "%1 = add(%z, %0) : f32[B, 8]", "return (y: %1)")
    found = difference(a, b)
    assert [c.kind for c in found.nodes] == ["changed", "changed"]
    assert found.nodes[0].after == "%0 = softmax(%x, axis=-2) : f32[B, 8]"


def test_the_signature() -> None:
    a = parse("%0 = relu(%x) : f32[B, 8]", "return (y: %0)")
    b = parse("%0 = relu(%x) : f32[B, 4]", "return (y: %x)", signature="(%x: f32[B, 4], %w: f32[B, 8]) -> (y: f32[B, 4])")
    shown = {(c.kind, c.before, c.after) for c in difference(a, b).signature}
    assert {("changed", "input x: f32[B, 8]", "input x: f32[B, 4]"), ("removed", "input z: f32[B, 8]", ""),
            ("added", "", "input w: f32[B, 8]"), ("changed", "output y: f32[B, 8]", "output y: f32[B, 4]")} <= shown
    swapped = parse("%0 = relu(%x) : f32[B, 8]", "return (y: %0)", signature="(%z: f32[B, 8], %x: f32[B, 8]) -> (y: f32[B, 8])")
    assert [c.after for c in difference(a, swapped).signature] == ["inputs z, x"]
    other = parse("return (y: %z)")
    assert any(c.before == "return y: %0" and c.after.startswith("return y: %z") for c in difference(a, other).signature)


def test_functions_are_compared_by_name() -> None:
    text = ("function $f(%x0: f32[8]) -> (y0: f32[8]) {{\n  %0 = {op}(%x0) : f32[8]\n  return (y0: %0)\n}}\n\n"
            "graph g(%x: f32[8]) -> (y: f32[8]) {{\n  %0 = call $f(%x) : f32[8]\n  return (y: %0)\n}}")
    found = difference(tg.parse(text.format(op="relu")), tg.parse(text.format(op="tanh")))
    assert found.nodes == [] and [f.name for f in found.functions] == ["f"]
    assert {c.kind for c in found.functions[0].nodes} == {"removed", "added"}


def test_bounds_of_dims() -> None:
    a, b = (parse("%0 = relu(%x) : f32[B, 8]", "return (y: %0)",
                  signature=f"(%x: f32[B, 8]) -> (y: f32[B, 8]) where B <= {n}") for n in (3, 4))
    found = difference(a, b)
    assert found.nodes == [] and [c.kind for c in found.signature] == ["removed", "added"]
