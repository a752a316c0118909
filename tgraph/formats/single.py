"""The one graph that a picture shows."""

from __future__ import annotations

from typing import Any

from ..ir.errors import FormatError, GraphError
from ..ir.graph import Graph
from ..ir.program import Program, only_graph


def single_graph(obj: Any, graph: str | None = None) -> Graph:
    """The graph to draw: the object itself, or one of a program by name, which may be left out if it is the only one."""
    if not isinstance(obj, (Graph, Program)):
        raise FormatError(f"expected a Graph or a Program, got {type(obj).__name__}")
    if graph is None or isinstance(obj, Graph):
        return only_graph(obj, FormatError, "graph={name}")
    try:
        return obj[graph]
    except GraphError as error:
        raise FormatError(f"{error}; choose one with graph=...") from None
