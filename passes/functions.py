"""Rewriting what calls apply: the bodies of functions."""

from __future__ import annotations

from collections.abc import Callable

from passes.outline import Functions, share
from passes.snapshot import snapshot
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node

Rewrite = Callable[[Graph], None]


def rewrite_functions(graph: Graph, rewrite: Rewrite, wanted: Callable[[Node], bool] = lambda _: True) -> None:
    """Apply `rewrite` to a copy of the function of every wanted call, and of all that it calls, callees first.

    Calls of one function share one again. The given functions never change: other graphs may call them, too.
    """
    others = [n.attrs["function"] for n in graph.nodes if n.op.name == "call" and not wanted(n)]
    known: Functions = {name: f for function in others for name, f in (*function.functions.items(), (function.name, function))}
    _rewrite(graph, rewrite, [n for n in graph.nodes if n.op.name == "call" and wanted(n)], known)


def _rewrite(graph: Graph, rewrite: Rewrite, calls: list[Node], known: Functions) -> None:
    callers: dict[int, list[Node]] = {}
    for node in calls:
        callers.setdefault(id(node.attrs["function"]), []).append(node)
    for together in callers.values():
        function: Graph = together[0].attrs["function"]
        body = function.copy()
        try:
            _rewrite(body, rewrite, [n for n in body.nodes if n.op.name == "call"], known)
            rewrite(body)
        finally:  # a report that stops a pass wants to see how far it came
            new = share(function if snapshot(body) == snapshot(function) else body, known)
            if new is not function:
                for node in together:
                    _call(graph, node, new)


def _call(graph: Graph, node: Node, function: Graph) -> None:
    """The same call of another function."""
    made = graph.insert(node.op, node.operands, {"function": function}, node.provenance)
    for old, new in zip(node.results, made if isinstance(made, tuple) else (made,)):
        graph.replace(old, new)
    graph.erase(node)
