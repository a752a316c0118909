"""Random graphs through each pass and each level: still valid, the same signature, the same numbers.

    pytest tests/passes/test_random.py                    300 graphs in all
    pytest tests/passes/test_random.py --graphs 5000      as many as one likes

Hypothesis shrinks what fails to a small graph; its text is in the report, with the pass.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, find, given, note, seed, settings
from hypothesis import strategies as st
from random_graphs import graphs

import tgraph as tg
from passes import LEVELS, PASSES, Pass, parse_pipeline
from passes.manager import apply_pass
from passes.patterns import rule
from passes.rewriting import RewritePass
from passes.snapshot import snapshot
from passes.validation import Validator

sys.path.insert(0, str(Path(__file__).parent))

from random_models import models

PARTS = 6  # so that workers share the load


def check(graph: tg.Graph, pipelines: dict[str, list[Pass]]) -> None:
    """Raises AssertionError or TGraphError with the text of the graph."""
    tg.verify(graph)
    text, content = str(graph), snapshot(graph)
    validator = Validator(graph)
    expected = validator.expect(graph)
    for name, steps in pipelines.items():
        result = graph.copy()
        for step in steps:
            apply_pass(step, result)
        if snapshot(result) == content:
            continue
        try:
            tg.verify(result)
            if all(step.effect != "changes-meaning" for step in steps):
                signature = [(i.name, i.type) for i in graph.inputs], [(n, v.type) for n, v in graph.outputs]
                assert ([(i.name, i.type) for i in result.inputs], [(n, v.type) for n, v in result.outputs]) == signature
                exact = all(step.effect == "exact" for step in steps)
                difference = validator.difference(graph, result, "exact" if exact else "rounds", expected)
                assert difference is None, f"{name}: {difference}"
        except BaseException:
            note(f"{name} makes of\n{text}\nthis:\n{result}")
            raise
    assert str(graph) == text


@pytest.mark.parametrize("part", range(PARTS))
def test_random_graphs(part: int, request: pytest.FixtureRequest) -> None:
    count = int(request.config.getoption("--graphs"))
    ours = {name: [cls()] for name, cls in sorted(PASSES.items()) if cls.__module__.startswith("passes.")}
    pipelines = {**ours, **{level: parse_pipeline(level) for level in LEVELS}}

    @settings(max_examples=-(-count // PARTS), suppress_health_check=list(HealthCheck), database=None)
    @given(graph=graphs() if part == 0 else models())
    def run(graph: tg.Graph) -> None:
        check(graph, pipelines)

    (seed(part)(run) if count <= 300 else run)()  # the same graphs each time, unless many are asked for


@given(st.data())
@settings(max_examples=20)
def test_the_pieces_are_all_drawn_and_valid(data: st.DataObject) -> None:
    tg.verify(data.draw(models()))


@dataclass(frozen=True)
class DropsBias(RewritePass):
    """linear(x, w, b) = linear(x, w), which is wrong."""

    effect = "rounds"
    rules = (rule("linear(x, w, b) = linear(x, w)", lambda x, w, b: tg.linear(x, w, b), lambda x, w: tg.linear(x, w)),)


def test_a_wrong_pass_is_found_and_shrunk_to_a_small_text() -> None:
    def fails(graph: tg.Graph) -> bool:
        try:
            check(graph, {"drops-bias": [DropsBias()]})
        except AssertionError as error:
            assert "drops-bias: output 'y0' differs" in str(error)
            return True
        return False

    smallest = find(models(), fails, settings=settings(max_examples=2000, database=None), random=Random(0))
    assert [n.op.name for n in smallest.nodes] == ["linear"], str(smallest)
    assert tg.parse(str(smallest)) == smallest
