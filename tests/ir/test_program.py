"""Programs: named graphs over one table of parameters. And provenance, which nodes carry through all of it."""

from __future__ import annotations

import pytest

from tgraph.ir.dtypes import f32
from tgraph.ir.errors import GraphError
from tgraph.ir.graph import Graph
from tgraph.ir.location import NOWHERE, Location, Provenance
from tgraph.ir.program import Program


def test_programs() -> None:
    first = Graph("first")
    first.parameter("w", f32[2])
    program = Program(first.weights, {"encode": first})
    second = Graph("second", first.weights)
    assert program.main is first and len(program) == 1 and list(program) == ["encode"]
    program.add("step", second)
    assert program["step"] is second and program.parameters == {"w": f32[2]}
    assert Program.of(first).graphs == {"main": first}
    assert "graph encode()" in str(program) and "graph step()" in str(program)  # the names are the program's
    for action, message in (
        (lambda: program.main, "no graph named main, but encode, step"),
        (lambda: program["decode"], "no graph 'decode', but encode, step"),
        (lambda: Program().main, "no graph named main, but none at all"),
        (lambda: program.add("step", second), "two graphs named 'step'"),
        (lambda: program.add("other", Graph()), "graph 'other' has weights of its own"),
    ):
        with pytest.raises(GraphError, match=message):
            action()
    third = Graph("third", first.weights)
    third.parameter("w", f32[3])
    with pytest.raises(GraphError, match=r"parameter 'w' is f32\[3\] in graph 'third' and f32\[2\] in another"):
        program.add("third", third)
    program.add("main", Graph("m", first.weights))
    assert program.main.name == "m" and repr(program).startswith("<program of <graph first")
    assert program == Program(first.weights, program.graphs) and program != str(program)
    assert program != Program(first.weights, dict(reversed(program.graphs.items())))


def test_provenance_merges_in_order() -> None:
    a = Provenance(("layer.0.query",), (Location("model.py", 3),))
    b = Provenance(("layer.0.key",), (Location("model.py", 4), Location("model.py", 3)))
    merged = Provenance.merge([a, b, a])
    assert merged == Provenance(("layer.0.query", "layer.0.key"), (Location("model.py", 3), Location("model.py", 4)))
    assert merged.scope == "layer.0" and a.scope == "layer.0.query" and NOWHERE.scope == ""
    assert Provenance(("layer.1", "layer.10")).scope == "layer" and Provenance(("a", "")).scope == ""
    assert merged.describe() == "in layer.0.query, layer.0.key at model.py:3, model.py:4" and NOWHERE.describe() == ""
    assert str(Location("/home/someone/model.py", 3)) == "model.py:3"
