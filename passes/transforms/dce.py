"""Dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from tgraph.ir.graph import Graph


@register_pass
@dataclass(frozen=True)
class Dce(Pass):
    """Drop the nodes that no output depends on, and the parameters and constants that nothing reads."""

    effect = "exact"
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        report = current_report()
        for node in reversed(graph.nodes):
            if not graph.is_needed(node):
                graph.erase(node)
                report.rewrote("drop what no output needs", [node])
        graph.prune()
