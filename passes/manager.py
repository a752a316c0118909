"""Running a pipeline on a copy of a graph, with what one wants to see along the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tgraph.ir.errors import PassError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.verify import verify

from .base import Pass
from .pipelines import parse_pipeline


@dataclass(frozen=True)
class PassRecord:
    """What one pass did. `seconds` is its own time, without verification."""

    name: str
    seconds: float
    nodes_before: int
    nodes_after: int
    changed: bool

    def __str__(self) -> str:
        change = f"{self.nodes_before} -> {self.nodes_after} nodes" if self.changed else "no change"
        return f"{self.name:<40} {self.seconds * 1e3:8.1f} ms  {change}"


Observer = Callable[[Pass, Graph, PassRecord], None]  # called after each pass


def optimize(graph: Graph, pipeline: str | Sequence[Pass] = "O2", *, verify_each: bool = False) -> Graph:
    """A new graph, rewritten by a level ("O0" .. "O3"), a pipeline text or a list of passes; `graph` never changes.

    Raises PassError for an unknown pass or option, or if `verify_each` finds that a pass broke the graph.
    """
    return run_pipeline(graph, pipeline, verify_each=verify_each)[0]


def run_pipeline(graph: Graph, pipeline: str | Sequence[Pass], *, verify_each: bool = False,
                 observer: Observer | None = None) -> tuple[Graph, list[PassRecord]]:
    """`optimize`, with a record of each pass; `observer` sees the graph after each one."""
    passes = parse_pipeline(pipeline) if isinstance(pipeline, str) else list(pipeline)
    result = graph.copy()
    records = []
    for step in passes:
        before, nodes_before = result.fingerprint, len(result)
        start = time.perf_counter()
        try:
            step.apply(result)
        except TGraphError as error:
            raise PassError(f"pass {step} failed on graph {graph.name}: {error}") from error
        seconds = time.perf_counter() - start
        if verify_each:
            _verify(step, result)
        records.append(PassRecord(str(step), seconds, nodes_before, len(result), result.fingerprint != before))
        if observer is not None:
            observer(step, result, records[-1])
    return result, records


def _verify(step: Pass, graph: Graph) -> None:
    try:
        verify(graph)
    except TGraphError as error:
        raise PassError(f"pass {step} broke graph {graph.name}: {error}") from error
