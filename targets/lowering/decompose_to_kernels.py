"""Decomposition of the ops that a target has no kernel for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.lowering.canonical import prepare_part
from tgraph.ir.builder import Builder, take_apart
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value


@register_pass
@dataclass(frozen=True)
class DecomposeToKernels(Pass):
    """Replaces every composite op that a target has no kernel for by its decomposition, again and again."""

    target: str = "cpu"
    effect = "rounds"

    def apply(self, graph: Graph) -> None:
        backend = backend_of(Target.parse(self.target))
        parameter_only = prepare_part(graph)
        pending = [n for n in graph.nodes if n not in parameter_only]
        while pending:
            node = pending.pop()
            apart = node.op.lower or node.op.decompose
            if apart is None or backend.has_kernel(node):
                continue
            results = take_apart(Builder(graph, node.provenance), node, apart)
            pending += _between(node.inputs, results)
            for old, new in zip(node.results, results):
                graph.replace(old, new)
            graph.erase(node)
            current_report().rewrote(f"{node.op.name} = its definition", [node], results)


def _between(operands: Sequence[Value], results: Sequence[Value]) -> list[Node]:
    """The nodes that compute results from operands."""
    found: dict[Node, None] = {}
    stack = list(results)
    while stack:
        value = stack.pop()
        if isinstance(value, Result) and value not in operands and value.node not in found:
            found[value.node] = None
            stack += value.node.inputs
    return list(found)
