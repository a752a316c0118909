"""Bisection: finds the single rewrite that breaks a result, by running a pass repeatedly with different limits of rewrites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from passes.base import Pass
from passes.debug.validation import Validator, describe, fired
from passes.pipelines import Pipeline, passes_of
from passes.rewriting import LimitReached, Rewrite, RewriteReport, reporting
from tgraph.ir.errors import PassError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program, only_graph
from tgraph.ir.values import Result, Value
from tgraph.ir.verify import verify

Judge = Callable[[Graph], str | None]  # what is wrong with a graph, None if nothing is


@dataclass(frozen=True)
class Culprit:
    """The first rewrite after which a graph is wrong; `rewrite` is None if no rewrite of the pass is to blame."""

    step: Pass
    number: int
    total: int
    rewrite: Rewrite | None
    reason: str

    def __str__(self) -> str:
        if self.rewrite is None:
            return f"pass {self.step} breaks the graph, by none of its {self.total} rewrites: {self.reason}"
        lines = [f"pass {self.step}, rewrite {self.number} of {self.total}: {self.rewrite.rule}"]
        lines += [f"  {'replaced' if i == 0 else 'and     '} {describe(node)}" for i, node in enumerate(self.rewrite.old)]
        lines += [f"  by       {_made(value)}" for value in self.rewrite.new]
        return "\n".join([*lines, f"  {self.reason}"])


def bisect(graph: Graph | Program, pipeline: Pipeline, wrong: Judge | None = None, *,
           sizes: Mapping[str, int] | None = None, seed: int = 0) -> Culprit | None:
    """The first rewrite after which the graph is wrong; None if all passes keep it right. The given graph never changes.

    Without `wrong`, the reference decides, as in `ValidateEach`; passes that change the meaning are taken to be right.
    `wrong(graph)` returns what is wrong with a graph, or None, and may test anything, the compiled result for instance. A graph
    that does not verify is always wrong. The rewrites of the first pass after which something is wrong are searched.
    """
    current = only_graph(graph, PassError, "passes.bisect(program[{name}], ...)").copy()
    for step in passes_of(pipeline):
        if wrong is not None:
            judge = wrong
        elif step.effect == "changes-meaning":
            judge = _takes_all
        else:
            judge = _reference_judge(current, step, sizes, seed)
        after, report, failure = _run(step, current, None)
        reason = failure or _judge(judge, after)
        if reason is not None:
            return _search(step, current, judge, report, reason)
        current = after
    return None


def _search(step: Pass, graph: Graph, judge: Judge, full: RewriteReport, reason: str) -> Culprit:
    """Binary search for the first wrong rewrite of a pass; the graph is right before the pass and wrong after it."""
    right, wrong_at = 0, full.total + 1
    culprit = Culprit(step, 0, full.total, None, f"{reason}\n  {fired(full)}")
    while wrong_at - right > 1:
        middle = (right + wrong_at) // 2
        after, report, failure = _run(step, graph, middle)
        found = failure or _judge(judge, after)
        if found is None:
            right = middle
        else:
            wrong_at = middle
            culprit = Culprit(step, middle, full.total, report.last, found)
    return culprit


def _run(step: Pass, graph: Graph, limit: int | None) -> tuple[Graph, RewriteReport, str | None]:
    """A copy of a graph after a pass, or after its first `limit` rewrites; the report; and the error if the pass fails."""
    result = graph.copy()
    report = RewriteReport(limit=limit)
    try:
        with reporting(report):
            step.run(result)
    except LimitReached:
        return result, report, None
    except TGraphError as error:
        return result, report, f"it fails: {error}"
    return result, report, None


def _judge(judge: Judge, graph: Graph) -> str | None:
    try:
        verify(graph)
    except TGraphError as error:
        return str(error)
    return judge(graph)


def _reference_judge(before: Graph, step: Pass, sizes: Mapping[str, int] | None, seed: int) -> Judge:
    validator = Validator(before, sizes, seed)
    expected = validator.expect(before)

    def judge(after: Graph) -> str | None:
        try:
            difference = validator.difference(before, after, step.effect, expected, moves_excluded=step.moves_excluded)
        except PassError:
            raise
        except TGraphError as error:
            return f"it cannot be run: {error}"
        return None if difference is None else str(difference)

    return judge


def _takes_all(graph: Graph) -> str | None:
    return None


def _made(value: Value) -> str:
    return describe(value.node) if isinstance(value, Result) else repr(value)

