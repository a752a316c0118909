"""Bias and activation joined to the product before them."""

from __future__ import annotations

from dataclasses import dataclass

from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value

from .base import Pass, register_pass
from .outline import Functions, outline

ACTIVATIONS = {"gelu", "leaky_relu", "quick_gelu", "relu", "sigmoid", "silu", "softplus", "tanh"}


@register_pass
@dataclass(frozen=True)
class FuseBiasActivation(Pass):
    """matmul(x, W) = linear(x, W^T); linear(x, W) + b = linear(x, W, b); activation(linear(...)) = call $linear_activation(...).

    W and b are known before any input, b has one element a column. The call is made only if nothing else reads the product.
    """

    effect = "rounds"

    def apply(self, graph: Graph) -> None:
        ready = prepared(graph)
        for node in graph.nodes:
            if node.op.name == "matmul" and node.inputs[1].type.rank == 2 and is_prepared(node.inputs[1], ready):
                b = Builder(graph, node.provenance)
                transposed = b.transpose(node.inputs[1])
                graph.replace(node.result, b.linear(node.inputs[0], transposed))
                graph.erase(node)
                ready.add(transposed.node)
        for node in graph.nodes:
            if node.op.name == "add" and node in graph:
                self._bias(graph, node, ready)
        functions: Functions = graph.functions
        for node in graph.nodes:
            if node.op.name in ACTIVATIONS and (product := _only_product(graph, node.inputs[0])) is not None:
                outline(graph, [product, node], f"linear_{node.op.name}", functions)

    @staticmethod
    def _bias(graph: Graph, node: Node, ready: set[Node]) -> None:
        for x, bias in (node.inputs, node.inputs[::-1]):
            product = _only_product(graph, x)
            if (product is not None and product.operands[2] is None and is_prepared(bias, ready)
                    and bias.type.rank == 1 and bias.shape == product.result.shape[-1:]):
                b = Builder(graph, Provenance.merge((product.provenance, node.provenance)))
                graph.replace(node.result, b.linear(product.operands[0], product.operands[1], bias))
                graph.erase(node)
                graph.erase(product)
                return


def _only_product(graph: Graph, value: Value) -> Node | None:
    """The `linear` that makes a value which one node reads, and no output."""
    if not isinstance(value, Result) or value.node.op.name != "linear" or len(value.uses) != 1 or graph.is_output(value):
        return None
    return value.node
