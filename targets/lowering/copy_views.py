"""Copies of views, one for each reader."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from targets.lowering.canonical import is_free, prepare_part
from tgraph.ir.graph import Graph


@register_pass
@dataclass(frozen=True)
class CopyViews(Pass):
    """Gives every reader of a view, or of numbers made from sizes, a copy of its own: reading through it costs nothing."""

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        parameter_only = prepare_part(graph)
        for node in reversed(graph.nodes):
            if node in parameter_only or not is_free(node):
                continue
            for user, position in list(node.result.uses)[0 if graph.is_output(node.result) else 1:]:
                twin = graph.insert(node.op, node.operands, node.attrs, node.provenance)
                graph.set_operand(user, position, twin)
                current_report().rewrote("view(x) for two readers = view(x), view(x)", [node], [twin])
