"""Rewriting the functions that a graph calls."""

from __future__ import annotations

from collections.abc import Callable

from passes.outline import Functions, share
from passes.snapshot import snapshot
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node

Rewrite = Callable[[Graph], None]


def rewrite_functions(graph: Graph, rewrite: Rewrite, wanted: Callable[[Node], bool] = lambda _: True) -> None:
    """Replace the function of every wanted call by a rewritten copy, and likewise the functions that it calls, callees first.

    Calls that shared a function share its copy. The given functions never change: other graphs may call them, too.
    """
    others = [n.attrs["function"] for n in graph.nodes if n.op.name == "call" and not wanted(n)]
    known: Functions = {name: f for function in others for name, f in (*function.functions.items(), (function.name, function))}
    _rewrite(graph, rewrite, [n for n in graph.nodes if n.op.name == "call" and wanted(n)], known)


def _rewrite(graph: Graph, rewrite: Rewrite, calls: list[Node], known: Functions) -> None:
    """The same for given calls; `known` are the functions that may be shared, by name."""
    callers: dict[int, list[Node]] = {}
    for node in calls:
        callers.setdefault(id(node.attrs["function"]), []).append(node)
    for together in callers.values():
        function: Graph = together[0].attrs["function"]
        body = function.copy()
        try:
            _rewrite(body, rewrite, [n for n in body.nodes if n.op.name == "call"], known)
            rewrite(body)
        finally:  # LimitReached stops a pass early, and what it did so far must be in the graph
            new = share(function if snapshot(body) == snapshot(function) else body, known)
            if new is not function:
                for node in together:
                    _call(graph, node, new)


def _call(graph: Graph, node: Node, function: Graph) -> None:
    """Replace a call by the same call of another function."""
    made = graph.insert(node.op, node.operands, {"function": function}, node.provenance)
    for old, new in zip(node.results, made if isinstance(made, tuple) else (made,)):
        graph.replace(old, new)
    graph.erase(node)
