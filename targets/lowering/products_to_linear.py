"""Products with weights in one form, `linear`."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from targets.lowering.canonical import narrow, prepare_part
from tgraph.ir.analysis import is_prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value


@register_pass
@dataclass(frozen=True)
class ProductsToLinear(Pass):
    """x W = linear(x, W^T) for a W known before any input."""

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        parameter_only = prepare_part(graph)
        for node in graph.nodes:
            if node in parameter_only:
                continue
            if (node.op.name == "matmul" and node.inputs[1].dtype.is_float and node.inputs[1].type.rank == 2
                    and is_prepared(node.inputs[1], parameter_only)):
                b = Builder(graph, node.provenance)
                weight = _transposed(b, node.inputs[1], parameter_only)
                made = b.linear(node.inputs[0], weight)
                graph.replace(node.result, made)
                graph.erase(node)
                current_report().rewrote("x W = linear(x, W^T)", [node], [made])


def _transposed(b: Builder, weight: Value, parameter_only: set[Node]) -> Value:
    """W^T, with a cast that widens W left outermost."""
    source = narrow(weight)
    made: Value = b.transpose(source)
    wide: Value = made if source is weight else b.cast(made, dtype=weight.dtype)
    parameter_only.update(v.node for v in (made, wide) if isinstance(v, Result))
    return wide
