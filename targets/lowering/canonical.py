"""The prepare part of a graph, and what kernels read through: views, and weights stored narrow or in panels."""

from __future__ import annotations

from tgraph.ir.analysis import prepared
from tgraph.ir.dtypes import f32
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value


def prepare_part(graph: Graph) -> set[Node]:
    """The nodes that depend on parameters alone and are no kernel's: they run before all calls."""
    layouts = {n.op.name for n in graph.nodes if n.op.traits.view == "layout"}  # kernels read weights packed
    return prepared(graph, layouts)


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


def dequantizes(value: Value) -> bool:
    """Whether a value is a weight made of integers of few bits, as the kernels of products read it: with scales of f32."""
    return isinstance(value, Result) and value.node.op.name == "dequantize" and value.dtype == f32


def centred(value: Value) -> bool:
    """Whether a value is of integers that were quantised about 0 and by their largest element, so that most of them are small."""
    while isinstance(value, Result):
        view, lookup = value.node.op.traits.view, value.node.op.traits.lookup
        if view in (None, "join") and lookup is None:
            break
        value = value.node.inputs[0 if lookup is None else lookup.table]
    return isinstance(value, Result) and value.node.op.name == "quantize_rows"


def packed(weight: Value) -> Value:
    """What a weight is made of by the kernel that reads it: its integers or its narrow numbers, else the weight itself."""
    return weight.node.inputs[0] if isinstance(weight, Result) and dequantizes(weight) else narrow(weight)


def in_panels(value: Value) -> bool:
    """Whether a value is a weight in panels, as it is stored."""
    return isinstance(value, Result) and value.node.op.traits.view == "layout"


def widens(node: Node) -> bool:
    """Whether a node makes numbers of a weight in panels: the kernel does so as it reads."""
    return (node.op.name == "cast" or dequantizes(node.results[0])) and in_panels(node.inputs[0])
