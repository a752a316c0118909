"""Projections of one input joined into one product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Value

from .base import Pass, register_pass


@register_pass
@dataclass(frozen=True)
class FuseQKV(Pass):
    """x Wq^T, x Wk^T, x Wv^T = split(x concat(Wq, Wk, Wv)^T), with the biases likewise.

    Joins all `linear` nodes that read one value with weights known before any input, `at_least` of them. The joined weight
    is made by ordinary nodes of the prepare part; the parameters keep their names and shapes.
    """

    effect = "rounds"
    at_least: int = 2

    def apply(self, graph: Graph) -> None:
        ready = prepared(graph)
        groups: dict[tuple[Value, bool], list[Node]] = {}
        for node in graph.nodes:
            if node.op.name != "linear":
                continue
            x, *weights = node.inputs
            if not is_prepared(x, ready) and all(is_prepared(w, ready) for w in weights):
                groups.setdefault((x, node.operands[2] is None), []).append(node)
        for (x, _), nodes in groups.items():
            if len(nodes) >= max(self.at_least, 2):
                self._join(graph, x, nodes)

    @staticmethod
    def _join(graph: Graph, x: Value, nodes: Sequence[Node]) -> None:
        b = Builder(graph, Provenance.merge(n.provenance for n in nodes))
        weight = b.concat(*[n.operands[1] for n in nodes], axis=0)
        bias = None if nodes[0].operands[2] is None else b.concat(*[n.operands[2] for n in nodes], axis=0)
        sizes = tuple(n.result.shape[-1] for n in nodes)
        for node, part in zip(nodes, b.split(b.linear(x, weight, bias), sizes=sizes, axis=-1)):
            graph.replace(node.result, part)
            graph.erase(node)
