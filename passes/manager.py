"""Running a pipeline on a copy of a graph, watched by instruments: `PassManager("O3", [Timing()]).run(graph)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from passes.base import Pass
from passes.outline import share_functions
from passes.pipelines import Pipeline, passes_of
from passes.rewriting import Rewrite, RewriteReport, reporting
from passes.snapshot import Watch
from tgraph.ir.errors import PassError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.ir.program import Program, as_program
from tgraph.ir.verify import verify


@dataclass(frozen=True)
class PassRecord:
    """What one pass did. `seconds` is its own time, without what instruments take; `rewrites` counts them by rule."""

    name: str
    seconds: float
    nodes_before: int
    nodes_after: int
    changed: bool
    rewrites: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0

    def __str__(self) -> str:
        change = f"{self.nodes_before} -> {self.nodes_after} nodes" if self.changed else "no change"
        return f"{self.name:<40} {self.seconds * 1e3:8.1f} ms  {change}"


class Instrument:
    """Sees a pipeline run. Override what you want to see; raise PassError to stop. No method may change the graph."""

    def start(self, graph: Graph) -> None:
        """Before the first pass."""

    def before(self, step: Pass, graph: Graph) -> None:
        """Before each pass."""

    def rewrote(self, step: Pass, graph: Graph, rewrite: Rewrite) -> None:
        """After each rewrite of a pass."""

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        """After each pass; `report` has the nearest misses too."""

    def finish(self, graph: Graph) -> None:
        """After the last pass."""


class PassManager:
    """A pipeline with instruments; after `run`, `records` has one entry a pass.

    Instruments are asked in order before and after each pass, so put those that check (`VerifyEach`) before those that
    print if a broken graph shall not be printed.
    """

    def __init__(self, pipeline: Pipeline = DEFAULT_LEVEL, instruments: Sequence[Instrument] = ()):
        self.passes: list[Pass] = passes_of(pipeline)
        self.instruments: list[Instrument] = list(instruments)
        self.records: list[PassRecord] = []

    def __str__(self) -> str:
        """The pipeline as text, which parses back."""
        return ",".join(map(str, self.passes))

    @overload
    def run(self, graph: Graph) -> Graph: ...
    @overload
    def run(self, graph: Program) -> Program: ...
    def run(self, graph: Graph | Program) -> Graph | Program:
        """A new graph, or a program of new graphs; the given ones never change.

        Raises PassError if a pass fails, or an instrument objects.
        """
        self.records = []
        program = as_program(graph, PassError)
        return self._run(graph) if isinstance(graph, Graph) else rewrite_each(program, self._run)

    def _run(self, graph: Graph) -> Graph:
        result = graph.copy()
        watch = Watch(result)
        for instrument in self.instruments:
            instrument.start(result)
        for step in self.passes:
            for instrument in self.instruments:
                instrument.before(step, result)
            nodes_before = len(result)
            report, seconds = apply_pass(step, result, observer=self._observer(step, result))
            record = PassRecord(str(step), seconds, nodes_before, len(result), watch.changed(), dict(report.rewrites),
                                report.attempts)
            self.records.append(record)
            for instrument in self.instruments:
                instrument.after(step, result, record, report)
        for instrument in self.instruments:
            instrument.finish(result)
        return result

    def _observer(self, step: Pass, graph: Graph) -> Callable[[Rewrite], None] | None:
        """What tells the instruments of each rewrite; None if none of them wants to know."""
        asked = [i for i in self.instruments if type(i).rewrote is not Instrument.rewrote]

        def tell(rewrite: Rewrite) -> None:
            for instrument in asked:
                instrument.rewrote(step, graph, rewrite)

        return tell if asked else None


def rewrite_each(program: Program, rewrite: Callable[[Graph], Graph]) -> Program:
    """A program of new graphs, each made of one of the given; the functions that they call are one table."""
    results = {name: rewrite(graph) for name, graph in program.graphs.items()}
    share_functions(results.values())
    return Program(program.weights, results)


def apply_pass(step: Pass, graph: Graph, limit: int | None = None,
               observer: Callable[[Rewrite], None] | None = None) -> tuple[RewriteReport, float]:
    """Run one pass on the graph itself; its report and its seconds. Raises PassError if it fails.

    With a `limit`, rewriting.LimitReached comes through when the pass has made so many rewrites. `observer` is called after each.
    """
    report = RewriteReport(limit=limit, observer=observer)
    start = time.perf_counter()
    try:
        with reporting(report):
            step.run(graph)
    except TGraphError as error:
        raise PassError(f"pass {step} failed on graph {graph.name}: {error}") from error
    return report, time.perf_counter() - start


class VerifyEach(Instrument):
    """Verifies the graph after each pass."""

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        verify_after(step, graph)


def verify_after(step: Pass, graph: Graph) -> None:
    """Raises PassError that names the pass if the graph is not valid."""
    try:
        verify(graph)
    except TGraphError as error:
        raise PassError(f"pass {step} broke graph {graph.name}: {error}") from error


Observer = Callable[[Pass, Graph, PassRecord], None]  # called after each pass


@dataclass
class Observing(Instrument):
    """Calls a function after each pass."""

    observer: Observer

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        self.observer(step, graph, record)


@overload
def optimize(graph: Graph, pipeline: Pipeline = ..., *, verify_each: bool = ...,
             instruments: Sequence[Instrument] = ...) -> Graph: ...
@overload
def optimize(graph: Program, pipeline: Pipeline = ..., *, verify_each: bool = ...,
             instruments: Sequence[Instrument] = ...) -> Program: ...
def optimize(graph: Graph | Program, pipeline: Pipeline = DEFAULT_LEVEL, *, verify_each: bool = False,
             instruments: Sequence[Instrument] = ()) -> Graph | Program:
    """A new graph, rewritten by a level ("O0" .. "O3"), a pipeline text, a pass, or a list of both; `graph` never changes.

    A program gives a program, of each graph rewritten. Raises PassError for an unknown pass or option, if `verify_each` finds
    that a pass broke the graph, or if one of the instruments objects.
    """
    return PassManager(pipeline, [*([VerifyEach()] if verify_each else []), *instruments]).run(graph)


def run_pipeline(graph: Graph, pipeline: Pipeline, *, verify_each: bool = False,
                 observer: Observer | None = None) -> tuple[Graph, list[PassRecord]]:
    """`optimize`, with a record of each pass; `observer` sees the graph after each one."""
    manager = PassManager(pipeline, [*([VerifyEach()] if verify_each else []), *([Observing(observer)] if observer else [])])
    return manager.run(graph), manager.records

