"""Fusion of a product with the bias and the activation after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from passes.base import Pass, register_pass
from passes.outline import Functions, outline
from passes.products import PROJECTIONS, Projection, added_bias, missed, projection
from passes.rewriting import current_report, erase_dead
from tgraph.ir.analysis import prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value


@register_pass
@dataclass(frozen=True)
class FuseBiasActivation(Pass):
    """x W = linear(x, W^T); linear(x, W) + b = linear(x, W, b); activation(linear(...)) = call $linear_activation(...).

    W and b are parameter-only, b has one element a column; a second bias is added to the first. The product and the activation
    become a call only if nothing else reads the product.
    """

    effect = "rounds"

    def apply(self, graph: Graph) -> None:
        parameter_only = prepared(graph)
        for node in graph.nodes:
            if node in graph and node not in parameter_only and node.op.name in PROJECTIONS:
                self._affine(graph, node, parameter_only)
        functions: Functions = graph.functions
        for node in graph.nodes:
            if not node.op.traits.activation:
                continue
            name = f"{node.op.name}(linear(x, W, b)) = call $linear_{node.op.name}(x, W, b)"
            product = _only_product(graph, node.inputs[0])
            if isinstance(product, str):
                missed(name, node, product)
            else:
                made = outline(graph, [product, node], f"linear_{node.op.name}", functions)
                current_report().rewrote(name, (node, product), made.results)

    @staticmethod
    def _affine(graph: Graph, node: Node, parameter_only: set[Node]) -> None:
        """Make one `linear` of a product and all biases added after it."""
        name = "x W = linear(x, W^T)" if node.op.name == "matmul" else "linear(x, W) + b = linear(x, W, b)"
        found = projection(graph, node, parameter_only)
        if isinstance(found, str):
            missed(name, node, found)
            return
        if found.transposed or len(found.nodes) > 1:
            found = _as_linear(graph, found, name, parameter_only)
        while found.bias is not None and (more := added_bias(graph, found.nodes[0], parameter_only)) is not None:
            nodes = (more[0], *found.nodes)
            bias = Builder(graph, Provenance.merge(n.provenance for n in reversed(nodes))).add(found.bias, more[1])
            parameter_only.add(bias.node)
            more_biased = replace(found, bias=bias, nodes=nodes)
            found = _as_linear(graph, more_biased, "linear(x, W, b) + c = linear(x, W, b + c)", parameter_only)


def _as_linear(graph: Graph, found: Projection, name: str, parameter_only: set[Node]) -> Projection:
    b = Builder(graph, found.provenance)
    weight = found.weight_rows(b)
    if found.transposed and isinstance(weight, Result):
        parameter_only.add(weight.node)
    made = b.linear(found.x, weight, found.bias)
    graph.replace(found.result, made)
    erase_dead(graph, found.nodes)
    current_report().rewrote(name, found.nodes, [made])
    return Projection(found.x, weight, found.bias, False, (made.node,))


def _only_product(graph: Graph, value: Value) -> Node | str:
    """The `linear` whose result is `value` and has one reader; or the reason why there is none."""
    if not isinstance(value, Result) or value.node.op.name != "linear":
        return "its operand is no linear product"
    if len(value.uses) != 1:
        return "the product is also read elsewhere"
    return "the product is an output" if graph.is_output(value) else value.node
