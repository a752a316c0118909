"""Inlining of function calls."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from tgraph.ir.graph import Graph


@register_pass
@dataclass(frozen=True)
class Inline(Pass):
    """call $f(x) = the body of f with x in the place of its inputs, repeated until no call is left."""

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        while calls := [n for n in graph.nodes if n.op.name == "call"]:
            for node in calls:
                function = node.attrs["function"]
                made = graph.inline(function, node.inputs, node.provenance)
                for old, new in zip(node.results, made):
                    graph.replace(old, new)
                graph.erase(node)
                current_report().rewrote(f"call ${function.name}(...) = its body", [node], made)
        graph.prune()
