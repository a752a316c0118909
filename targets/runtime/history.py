"""The way of a graph through all passes of a compilation, run once more to record it."""

from __future__ import annotations

from collections.abc import Sequence

from passes.debug.history import History
from passes.debug.history import record as record_history
from passes.manager import PassRecord
from passes.pipelines import passes_of
from tgraph.ir.errors import TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node


def history(graph: Graph, records: Sequence[PassRecord]) -> History:
    """Every rewrite between a graph and its kernel calls, by the passes of a compilation's records.

    Raises TargetError without records: a loaded bundle has none.
    """
    if not records:
        raise TargetError(f"no passes of {graph.name} are on record (a loaded bundle keeps what they made, not what they were); "
                          "compile it to see its history")
    return record_history(graph, [step for record in records for step in passes_of(record.name)])


def calls_in(graph: Graph) -> list[Node]:
    """The calls of kernels in a graph, in order: those in the last graph of a history are those of `Executable.kernels`."""
    return [node for node in graph.nodes if isinstance(node.attrs.get("function"), Graph)]
