"""Detecting whether a graph has changed, by comparing snapshots of its content, which is much cheaper than comparing text."""

from __future__ import annotations

from typing import Any

from tgraph.ir.graph import Graph
from tgraph.ir.printer import canonical_leaves
from tgraph.ir.values import Constant, Input, Parameter, Result, Value


def snapshot(graph: Graph) -> Any:
    """The content of a graph as a value: equal snapshots before and after a pass mean that it changed nothing."""
    nodes = graph.nodes
    numbers: dict[Value, Any] = {}

    def key(value: Value | None) -> Any:
        if isinstance(value, Result):
            return numbers[value]
        if isinstance(value, (Input, Parameter)):
            return type(value), value.name
        return (value.digest, value.type) if isinstance(value, Constant) else None

    listed = []
    for node in nodes:
        for result in node.results:
            numbers[result] = len(numbers)
        types = tuple(r.type for r in node.results)
        attributes = tuple((name, type(value), value) for name, value in node.attrs.items())
        listed.append((node.op, tuple(map(key, node.operands)), attributes, types))
    parameters = tuple((p.name, p.type) for p in canonical_leaves(graph)[0])
    inputs = tuple((i.name, i.type) for i in graph.inputs)
    required = tuple(graph.constraints), tuple(graph.inequalities)
    return inputs, parameters, listed, tuple((n, key(v)) for n, v in graph.outputs), required


class Watch:
    """Watches a graph for changes while passes run on it."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._content = snapshot(graph)
        self._touched = self._mark()

    def changed(self) -> bool:
        """Whether the graph differs from what it was at the last call, or at first when the watch began."""
        mark = self._mark()
        if mark[0] is self._touched[0] and mark[1:] == self._touched[1:]:
            return False  # every change of nodes makes a new order
        before, self._content = self._content, snapshot(self._graph)
        self._touched = self._mark()
        return bool(self._content != before)

    def _mark(self) -> tuple[Any, ...]:
        graph = self._graph
        required = list(graph.constraints), list(graph.inequalities)
        return (graph._order, list(graph.inputs), list(graph.outputs), list(graph.parameters), required)
