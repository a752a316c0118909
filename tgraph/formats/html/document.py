"""The data of an explorer's page: graphs with every rewrite of their passes, as plain data that JSON holds.

    {"format": "tgraph-explorer", "version": 1, "producer": "tgraph 0.1", "title": "bert",
     "strings": [...],                 every text once; elsewhere a text is its position here
     "ops":     [[name, summary, operand names, category]],    category: what kind of op it is by its traits
     "sizes":   {"B": 1, "S": 128},    of symbolic dims, at which costs are shown first
     "graphs":  [graph, ...],
     "functions": [graph with "name", "kernel" and "code", ...]}      what `call` nodes apply

A graph:

     "name", "symbols": {"S": [min, max or null]}, "constraints": [text]
     "leaves":  [[kind, name, type, detail]]     kind: "input", "state", "parameter" or "constant"; detail: a constant's numbers
     "nodes":   [[op, attributes, [result types], path, [scopes], [[file, line, text]], flops, bytes, function or -1]]
                every node that there ever is. path: the innermost scope that holds all of its scopes, parts joined by "."; flops
                and bytes are expressions over dims (`3072*B*S`); function is a position in "functions"
     "first":   [node], "reads": [[value]]       the nodes before the first pass, in order, and what each of them reads
     "outputs": [[name, value]]                  before the first pass
     "stages":  [{"name", "effect", "about", "seconds", "before", "after", "changed", "attempts",
                  "misses": [[rule, node, matched, node or null, reason]],
                  "steps":  [[rule, [change], [nodes that it rewrote], [nodes that stand for them]]]}]
     "apart":   [text]                           what looks like a composite op after the passes, and why it is none
     "overlays": {name: {"title", "unit", "note", "at", "sums", "values": [[node, number]]}}
                at: whether these are nodes of the "first" or the "last" graph; sums: whether a scope has the sum of its nodes'
     "statistics": [[node, {name: number}]]      of the values of its first result
     "heads":   [{"scope", "shape": [heads, queries, keys], "weights": base64 of u8, 255 = 1}]

A value is the number of a node for its only or first result, [node, i] for its result i, -1 - k for leaf k, null for an absent
operand. A change is [0, node, [values read]] (added), [1, node] (erased), [2, node, position, old, new] (reads another value) or
[3, [[name, value]]] (outputs). The changes of all steps, one after the other, lead from the first nodes to the last graph.

A function has "kernel": {"family", "chosen", "calls"} in an executable, and "code": {level: base64 of gzip} where that was
asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ir.dims import as_symbol
from ...ir.graph import Graph
from ...ir.program import Program
from ...ir.registry import Op
from ...version import VERSION
from .entries import GraphEntry

FORMAT_VERSION = 1
TYPICAL_SIZE = 128  # of a dim that nobody gave a size, but the first one, which is a batch of 1


class Document:
    """The data of one page. `add` begins a graph; `data` is the whole, as JSON holds it."""

    def __init__(self, title: str, sizes: Mapping[str, int]):
        self.sizes: dict[str, int] = dict(sizes)
        self.title: str = title
        self.graphs: list[GraphEntry] = []
        self._strings: dict[str, int] = {}
        self._ops: dict[Op, int] = {}
        self._functions: list[GraphEntry] = []
        self._known: dict[str, int] = {}  # functions by their text
        self._numbers: dict[int, tuple[Graph, int]] = {}  # functions by id, kept alive so that no other takes it

    @classmethod
    def of(cls, obj: Graph | Program, sizes: Mapping[str, int] | None = None, title: str = "") -> Document:
        """An empty document for graphs, at sizes of which those that are not given are chosen."""
        graphs = obj.named_graphs()
        return cls(title or ", ".join(graphs), {name: size for g in graphs.values() for name, size in typical_sizes(g).items()}
                   | dict(sizes or {}))

    def add(self, graph: Graph, name: str = "") -> GraphEntry:
        """The entry of one more graph."""
        self.graphs.append(GraphEntry(self, graph, name or graph.name))
        return self.graphs[-1]

    def text(self, text: str) -> int:
        """The position of a text in the table of strings."""
        return self._strings.setdefault(text, len(self._strings))

    def op(self, op: Op) -> int:
        """The position of an op in the table of ops."""
        return self._ops.setdefault(op, len(self._ops))

    def function(self, graph: Graph) -> int:
        """The position of a called function; equal ones under one name are one."""
        if id(graph) not in self._numbers:
            text = graph.text(scopes=True)
            if text not in self._known:
                entry = GraphEntry(self, graph, graph.name)
                entry.begin(graph)  # first what it calls
                self._known[text] = len(self._functions)
                self._functions.append(entry)
            self._numbers[id(graph)] = graph, self._known[text]
        return self._numbers[id(graph)][1]

    def entry_of(self, function: Graph) -> GraphEntry:
        """The entry of a called function."""
        return self._functions[self.function(function)]

    def data(self) -> dict[str, Any]:
        """The document as plain data."""
        graphs, functions = [g.data() for g in self.graphs], [f.data() for f in self._functions]
        ops = [[op.name, op.summary, [o.name for o in op.operands], category(op)] for op in self._ops]
        return {"format": "tgraph-explorer", "version": FORMAT_VERSION, "producer": f"tgraph {VERSION}", "title": self.title,
                "strings": list(self._strings), "ops": ops, "sizes": self.sizes, "graphs": graphs, "functions": functions}


def category(op: Op) -> str:
    """What kind of op it is, by its traits; the page gives each kind a colour."""
    traits = op.traits
    kinds = (("attention", traits.attention), ("product", traits.precision == "product"), ("lookup", traits.lookup is not None),
             ("weights", traits.view == "layout"), ("view", traits.view is not None), ("reduction", traits.reduces is not None),
             ("recurrence", traits.recurrence is not None), ("row-wise", traits.along is not None),
             ("elementwise", traits.elementwise and bool(op.operands)))
    return next((name for name, holds in kinds if holds), "other")


def typical_sizes(graph: Graph) -> dict[str, int]:
    """Sizes to show costs at: 1 for the first axis of the first input, 128 for other dims, within their bounds."""
    batch = next((as_symbol(i.shape[0]) for i in graph.inputs if i.shape), None)
    sizes = {}
    for name, symbol in graph.symbols.items():
        size = 1 if symbol == batch else TYPICAL_SIZE
        sizes[name] = max(symbol.min, size if symbol.max is None else min(size, symbol.max))
    return sizes
