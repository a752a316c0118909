"""Constant folding."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from tgraph.ir.determined import sizes_of
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node
from tgraph.reference.interpreter import Interpreter


@register_pass
@dataclass(frozen=True)
class FoldConstants(Pass):
    """f(constants) = constant, computed by the reference at the precision of the types. Parameters are never folded.

    A result of more than `max_elements` stays an op, so that a graph does not grow from a few bytes to many; so does a
    `dequantize`, whose operands are kept for what they are: narrow.
    """

    effect = "rounds"
    enters_functions = True
    max_elements: int = 65536

    def apply(self, graph: Graph) -> None:
        interpreter = Interpreter(graph, faithful=True)
        for node in graph.nodes:
            if not self._foldable(node):
                continue
            operands = [None if v is None else interpreter.leaf(v, {}) for v in node.operands]
            values = [graph.constant(a, r.dtype) for a, r in zip(interpreter.run_node(node, operands, {}), node.results)]
            for result, value in zip(node.results, values):
                graph.replace(result, value)
            graph.erase(node)
            current_report().rewrote("f(constants) = constant", [node], values)
        graph.prune()

    def _foldable(self, node: Node) -> bool:
        leaves = all(isinstance(v, Constant) and v.data is not None for v in node.inputs)
        small = all(isinstance(r.type.size, int) and r.type.size <= self.max_elements for r in node.results)
        kept = sizes_of(node) or node.op.name == "call" or node.op.name == "dequantize" or node.op.traits.makes_dim
        # ops on sizes alone stay readable (range(512)), and cost nothing where they are read
        return bool(node.inputs) and leaves and small and not kept
