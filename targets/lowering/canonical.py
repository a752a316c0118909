"""The prepare part of a graph, and what kernels read through: views, and weights stored narrow or in panels."""

from __future__ import annotations

from tgraph.ir.analysis import prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value

_STAYS = ("unpack_panels",)  # depends on weights alone, but stays with the kernel, which reads them packed


def prepare_part(graph: Graph) -> set[Node]:
    """The nodes that depend on parameters alone and are no kernel's: they run before all calls."""
    return prepared(graph, _STAYS)


def is_free(node: Node) -> bool:
    """Whether reading through a node costs nothing: it is a view of one operand, or makes numbers from sizes."""
    return node.op.traits.view not in (None, "join") or node.op.created


def narrow(weight: Value) -> Value:
    """The weight as it is stored: the half-precision operand of a cast that widens it, else the weight itself."""
    if isinstance(weight, Result) and weight.node.op.name == "cast":
        source = weight.node.inputs[0]
        if source.dtype.is_float and source.dtype.bits < weight.dtype.bits:
            return source
    return weight


def widens(node: Node) -> bool:
    """Whether a node widens a weight in panels: the kernel does so as it reads."""
    return node.op.name == "cast" and isinstance(node.inputs[0], Result) and node.inputs[0].node.op.traits.view == "layout"
