"""Random graphs through each pass and each level: still valid, the same signature, the same numbers.

    pytest tests/passes/test_random.py                    300 graphs in all, the same ones each time
    pytest tests/passes/test_random.py --graphs 5000      as many as one likes, others each time

A graph that fails is shrunk by passes/debug/reduction.py; the report has the pass, what is wrong, and a small text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from random_graphs import graphs

import tgraph as tg
from passes import LEVELS, PASSES, Pass, parse_pipeline
from passes.debug.reduction import reduce_graph
from passes.debug.validation import Validator
from passes.manager import apply_pass
from passes.patterns import rule
from passes.rewriting import RewritePass
from passes.snapshot import snapshot

sys.path.insert(0, str(Path(__file__).parent))

from random_models import models
from random_promises import OPTIONS, PROMISES, Problem

PARTS = 6  # so that workers share the load
Search = Callable[["Subject"], Problem | None]


class Subject:
    """A graph and what the reference makes of it."""

    def __init__(self, graph: tg.Graph):
        tg.verify(graph)
        self.graph, self.text, self.content = graph, str(graph), snapshot(graph)
        self.made: dict[str, tg.Graph] = {}  # what pipelines made of it, for those that look again and again
        self.validator = Validator(graph)
        self.expected = self.validator.expect(graph)

    def problem(self, steps: Sequence[Pass]) -> Problem | None:
        """What kind of thing is wrong after the passes, and what exactly."""
        result = self.graph.copy()
        try:
            for step in steps:
                apply_pass(step, result)
            if str(self.graph) != self.text:
                return "given graph", "the given graph has changed"
            if snapshot(result) == self.content:
                return None
            tg.verify(result)
            if any(step.effect == "changes-meaning" for step in steps):
                return None
            if signature(result) != signature(self.graph):
                return "signature", f"the signature has changed:\n{result}"
            exact = all(step.effect == "exact" for step in steps)
            difference = self.validator.difference(self.graph, result, "exact" if exact else "rounds", self.expected,
                                                   moves_excluded=any(step.moves_excluded for step in steps))
        except tg.TGraphError as error:
            return type(error).__name__, f"{error}\n{result}"
        return None if difference is None else ("difference", f"{difference}\n{result}")


def signature(graph: tg.Graph) -> object:
    return [(i.name, i.type) for i in graph.inputs], [(n, v.type) for n, v in graph.outputs]


def check(graph: tg.Graph, searches: Mapping[str, Search]) -> None:
    """Fails with the text of a small graph on which something goes wrong."""
    subject = Subject(graph)
    for name, find in searches.items():
        found = find(subject)
        if found is None:
            continue
        kind = found[0]

        def as_wrong(candidate: tg.Graph, find: Search = find, kind: str = kind) -> bool:
            try:
                problem = find(Subject(candidate))
            except tg.TGraphError:  # it cannot be run
                return False
            return problem is not None and problem[0] == kind

        small = reduce_graph(graph, as_wrong)
        problem = find(Subject(small))
        assert problem is not None
        pytest.fail(f"{name} makes of\n{small}\nthis: {problem[1]}", pytrace=False)


def keeps(*steps: Pass) -> Search:
    """What passes promise by their effect: the same signature, the same numbers."""
    return lambda subject: subject.problem(steps)


def search(searches: Mapping[str, Search], strategy: st.SearchStrategy[tg.Graph], count: int, start: int | None) -> None:
    """Send so many graphs through the passes; without `start`, others each time."""

    @settings(max_examples=count, suppress_health_check=list(HealthCheck), database=None, phases=(Phase.generate,))
    @given(graph=strategy)
    def run(graph: tg.Graph) -> None:
        check(graph, searches)

    (run if start is None else seed(start)(run))()


@pytest.mark.parametrize("part", range(PARTS))
def test_random_graphs(part: int, request: pytest.FixtureRequest) -> None:
    count = int(request.config.getoption("--graphs"))
    ours = {name: keeps(cls()) for name, cls in sorted(PASSES.items()) if cls.__module__.startswith("passes.")}
    levels = {text: keeps(*parse_pipeline(text)) for text in (*LEVELS, *OPTIONS)}
    promises = {f"promise of {name}": find for name, find in PROMISES.items()}
    strategy, start = graphs() if part == 0 else models(), part if count <= 300 else None
    search({**ours, **levels, **promises}, strategy, -(-count // PARTS), start)


@dataclass(frozen=True)
class DropsBias(RewritePass):
    """linear(x, w, b) = linear(x, w), which is wrong."""

    effect = "rounds"
    rules = (rule("linear(x, w, b) = linear(x, w)", lambda x, w, b: tg.linear(x, w, b), lambda x, w: tg.linear(x, w)),)


def test_a_wrong_pass_is_found_and_shrunk_to_a_small_text() -> None:
    with pytest.raises(pytest.fail.Exception) as raised:
        search({"drops-bias": keeps(DropsBias())}, models(), 500, 0)
    title, text, _ = str(raised.value).split("graph random", 2)
    assert title == "drops-bias makes of\n" and text.count(" = ") == 1, text
    assert "= linear(" in text and "differs" in text


@given(st.data())
@settings(max_examples=20)
def test_the_pieces_are_valid(data: st.DataObject) -> None:
    graph = data.draw(models())
    tg.verify(graph)
    assert tg.parse(str(graph)) == graph
