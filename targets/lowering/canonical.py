"""What lowering knows of ops, and of weights that are stored in fewer bits than they are computed with."""

from __future__ import annotations

from tgraph.ir.values import Node, Result, Value

KERNEL_READS = ("unpack_panels",)  # depends on weights alone, but stays with the kernel that reads them packed


def is_free(node: Node) -> bool:
    """Whether it costs nothing to read through a node: a view of one operand, or numbers made from sizes."""
    return node.op.traits.view not in (None, "join") or node.op.created


def narrow(weight: Value) -> Value:
    """What a weight is stored as: the half-precision operand of a cast that widens it, else the weight itself."""
    if isinstance(weight, Result) and weight.node.op.name == "cast":
        source = weight.node.inputs[0]
        if source.dtype.is_float and source.dtype.bits < weight.dtype.bits:
            return source
    return weight


def widens(node: Node) -> bool:
    """Whether a node widens a weight in panels: the kernel does so as it reads."""
    return node.op.name == "cast" and isinstance(node.inputs[0], Result) and node.inputs[0].node.op.name == "unpack_panels"
