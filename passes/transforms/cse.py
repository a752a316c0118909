"""Common subexpression elimination."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node


@register_pass
@dataclass(frozen=True)
class Cse(Pass):
    """f(x), f(x) = one f(x), used twice. Ops have no side effects, so equal nodes have equal results."""

    effect = "exact"
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        report = current_report()
        seen: dict[object, Node] = {}
        for node in graph.nodes:
            first = seen.setdefault(node.computation(node.operands), node)
            if first is node:
                continue
            for old, new in zip(node.results, first.results):
                graph.replace(old, new)
            first.provenance = Provenance.merge((first.provenance, node.provenance))
            graph.erase(node)
            report.rewrote("f(x), f(x) = one f(x)", [node], first.results)
