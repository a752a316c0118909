"""Dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass

from tgraph.ir.graph import Graph

from .base import Pass, register_pass
from .rewriting import current_report


@register_pass
@dataclass(frozen=True)
class Dce(Pass):
    """Drop the nodes that no output depends on, and the parameters and constants that nothing reads."""

    effect = "exact"
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        report = current_report()
        outputs = {id(value) for _, value in graph.outputs}
        for node in reversed(graph.nodes):
            if not any(result.uses or id(result) in outputs for result in node.results):
                graph.erase(node)
                report.rewrote("drop what no output needs", [node])
        graph.prune()
