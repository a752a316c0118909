"""One graph of an explorer's document: its nodes by number, what they read at first, and each change of each pass."""

from __future__ import annotations

import linecache
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...ir.graph import Graph
from ...ir.journal import Added, Change, Erased, Rewired
from ...ir.location import Location, scope_names
from ...ir.names import elements
from ...ir.printer import SHOWN_ELEMENTS
from ...ir.values import Constant, Input, Node, Parameter, Result, Value
from ..labels import attributes

if TYPE_CHECKING:
    from .document import Document

Outputs = Sequence[tuple[str, Value]]


class GraphEntry:
    """The part of a document that one graph is. Nodes and leaves get a number when they are first mentioned."""

    def __init__(self, document: Document, graph: Graph, name: str):
        self.document: Document = document
        self.name: str = name
        self.nodes: dict[Node, int] = {}
        self.more: dict[str, Any] = {}  # what passes and targets add: "apart", "heads", "kernel", "code", ...
        self.overlays: dict[str, Any] = {}
        self._states = frozenset(graph.states)
        self._leaves: dict[Hashable, int] = {}
        self._rows: list[list[Any]] = []
        self._leaf_rows: list[list[Any]] = []
        self.first_nodes: Sequence[Node] = ()
        self._first: dict[str, Any] = {}
        self._stages: list[dict[str, Any]] = []
        self._head = {"name": name, "symbols": {n: [s.min, s.max] for n, s in graph.symbols.items()},
                      "constraints": [*(f"{a} == {b}" for a, b in graph.constraints),
                                      *(f"{a} >= {b}" for a, b in graph.inequalities)]}
        for value in graph.inputs:
            self.value(value)

    # Numbers

    def node(self, node: Node) -> int:
        """The number of a node."""
        if node not in self.nodes:
            self.nodes[node] = len(self._rows)
            self._rows.append([])  # its number is taken before its function is looked at
            self._rows[self.nodes[node]] = self._row(node)
        return self.nodes[node]

    def value(self, value: Value | None) -> Any:
        """How the document refers to a value."""
        if value is None:
            return None
        if isinstance(value, Result):
            number = self.node(value.node)
            return [number, value.index] if value.index else number
        key = (value.digest, value.type) if isinstance(value, Constant) else (type(value), value.name)  # type: ignore[attr-defined]
        if key not in self._leaves:  # passes rewrite a copy, whose leaves are other objects
            self._leaves[key] = len(self._leaf_rows)
            self._leaf_rows.append(self._leaf(value))
        return -1 - self._leaves[key]

    # What there is to tell

    def begin(self, graph: Graph) -> None:
        """The graph as it is now is what the page begins with."""
        nodes = graph.nodes
        self.begin_with(nodes, {n: n.operands for n in nodes}, graph.outputs)

    def begin_with(self, nodes: Sequence[Node], operands: Mapping[Node, Sequence[Value | None]], outputs: Outputs) -> None:
        """The nodes that the page begins with, and what they read then."""
        self.first_nodes = list(nodes)
        self._first = {"first": [self.node(n) for n in nodes], "reads": [self._values(operands[n]) for n in nodes],
                       "outputs": self._outputs(outputs)}

    def stage(self, name: str, effect: str, about: str, *, seconds: float, before: int, after: int, changed: bool, attempts: int,
              misses: Iterable[tuple[str, Node, int, Node | None, str]],
              steps: Iterable[tuple[str, Iterable[Change], Iterable[Node], Iterable[Node]]]) -> None:
        """What one pass did: for each rewrite its rule, its changes, the nodes that it rewrote and those that stand for them."""
        text = self.document.text
        told = [[text(rule), self.node(root), matched, None if at is None else self.node(at), text(reason)]
                for rule, root, matched, at, reason in misses]
        self._stages.append({
            "name": name, "effect": effect, "about": about, "seconds": round(seconds, 6), "before": before, "after": after,
            "changed": changed, "attempts": attempts, "misses": told,
            "steps": [[text(rule), [self._change(c) for c in changes], [self.node(n) for n in old], [self.node(n) for n in new]]
                      for rule, changes, old, new in steps]})

    def overlay(self, name: str, title: str, unit: str, values: Mapping[Node, float], note: str = "", *, at: str = "last",
                sums: bool = True) -> None:
        """Numbers to lay over the graph, by node of the "first" or "last" graph.

        sums: a scope has the sum of its nodes' numbers, else the largest of them.
        """
        self.overlays[name] = {"title": title, "unit": unit, "note": note, "at": at, "sums": sums,
                               "values": [[self.node(n), float(f"{v:.6g}")] for n, v in values.items()]}

    def overlays_of_first(self, graph: Graph, overlays: Mapping[str, Mapping[Node, float]]) -> None:
        """Lay a user's numbers over the first graph, by nodes of `graph`, of which it is a copy; other nodes are left out."""
        first = dict(zip(graph.nodes, self.first_nodes))
        for title, values in overlays.items():
            if own := {first[node]: value for node, value in values.items() if node in first}:
                self.overlay(title, title, "", own, at="first", sums=False)

    def data(self) -> dict[str, Any]:
        """The entry as plain data."""
        return {**self._head, "leaves": self._leaf_rows, "nodes": self._rows, **self._first, "stages": self._stages,
                "overlays": self.overlays, **self.more}

    # Rows

    def _row(self, node: Node) -> list[Any]:
        text, function = self.document.text, node.attrs.get("function")
        provenance = node.provenance
        return [self.document.op(node.op), text(attributes(node)), [text(str(r.type)) for r in node.results],
                text(".".join(scope_names(provenance.scope))), [text(s) for s in provenance.scopes if s],
                [self._location(place) for place in provenance.locations], text(str(node.flops)), text(str(node.nbytes)),
                self.document.function(function) if isinstance(function, Graph) else -1]

    def _location(self, place: Location) -> list[Any]:
        line = linecache.getline(place.file, place.line).strip()
        return [self.document.text(shown_path(place.file)), place.line, self.document.text(line[:200])]

    def _leaf(self, value: Value) -> list[Any]:
        text, type = self.document.text, self.document.text(str(value.type))
        if isinstance(value, Input):
            return ["state" if value.name in self._states else "input", text(value.name), type, text("")]
        if isinstance(value, Parameter):
            return ["parameter", text(value.name), type, text("")]
        assert isinstance(value, Constant)
        if value.data is not None and value.data.size <= SHOWN_ELEMENTS:
            return ["constant", text(""), type, text(elements(value.data, value.dtype))]
        return ["constant", text(""), type, text(f"sha256:{value.digest[:12]}")]

    def _values(self, values: Iterable[Value | None]) -> list[Any]:
        return [self.value(v) for v in values]

    def _outputs(self, outputs: Outputs) -> list[Any]:
        return [[name, self.value(value)] for name, value in outputs]

    def _change(self, change: Change) -> list[Any]:
        if isinstance(change, Added):
            return [0, self.node(change.node), self._values(change.operands)]
        if isinstance(change, Erased):
            return [1, self.node(change.node)]
        if isinstance(change, Rewired):
            return [2, self.node(change.node), change.position, self.value(change.old), self.value(change.new)]
        return [3, self._outputs(change.outputs)]


def shown_path(file: str) -> str:
    """A path as a page may show it to anyone: within the working directory, or a file and its folder."""
    path = Path(file)
    try:
        return os.fspath(path.relative_to(Path.cwd()))
    except ValueError:
        return "/".join(path.parts[-2:])
