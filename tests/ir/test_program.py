"""Programs: named graphs over one table of parameters. And provenance, which nodes carry through all of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from passes.debug.reduction import reduce_graph
from tgraph.formats.single import single_graph
from tgraph.formats.svg import to_svg
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


def test_several_graphs_where_one_is_taken() -> None:
    text = "graph {}(%x: f32[B]) -> (y: f32[B]) {{\n  %0 = neg(%x)\n  return (y: %0)\n}}\n"
    program = tg.parse_program(text.format("main") + text.format("step"))
    feeds = {"x": np.ones(2, np.float32)}
    for action, error, usage in (
        (lambda p: tg.passes.bisect(p, "O1"), tg.PassError, "passes.bisect(program[{}], ...)"),
        (lambda p: reduce_graph(p, lambda _: True), tg.PassError, "reduce_graph(program[{}], ...)"),
        (lambda p: tg.reference.run(p, feeds), tg.GraphError, "tg.reference.run(program[{}], feeds)"),
        (lambda p: to_svg(single_graph(p)), tg.FormatError, "graph={}"),
    ):
        usage = usage.replace("{}", '"main"')
        expected = f"the program has the graphs main, step, and this takes one: write {usage} for main"
        with pytest.raises(error, match=f"^{re.escape(expected)}$"):
            action(program)
        action(Program.of(program["step"]))
        with pytest.raises(tg.TGraphError, match="the program has no graphs"):
            action(Program())
        with pytest.raises(tg.TGraphError, match="expected a Graph"):
            action(3)
    tg.verify(program)


@pytest.mark.parametrize(("action", "error"), [
    (tg.compile, tg.CompileError), (tg.optimize, tg.PassError), (tg.passes.PassManager().run, tg.PassError),
])
def test_what_takes_programs_takes_no_empty_one(action: Callable[[Any], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="the program has no graphs"):
        action(Program())
    with pytest.raises(error, match="expected a Graph"):
        action(3)


def test_provenance_merges_in_order() -> None:
    a = Provenance(("layer.0.query",), (Location("model.py", 3),))
    b = Provenance(("layer.0.key",), (Location("model.py", 4), Location("model.py", 3)))
    merged = Provenance.merge([a, b, a])
    assert merged == Provenance(("layer.0.query", "layer.0.key"), (Location("model.py", 3), Location("model.py", 4)))
    assert merged.scope == "layer.0" and a.scope == "layer.0.query" and NOWHERE.scope == ""
    assert Provenance(("layer.1", "layer.10")).scope == "layer" and Provenance(("a", "")).scope == ""
    assert merged.describe() == "in layer.0.query, layer.0.key at model.py:3, model.py:4" and NOWHERE.describe() == ""
    assert str(Location("/home/someone/model.py", 3)) == "model.py:3"
