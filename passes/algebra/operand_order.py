"""A canonical order for the operands of commutative ops and of comparisons with a constant."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

from passes.rewriting import current_report
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.graph import Graph
from tgraph.ir.names import attribute
from tgraph.ir.registry import get_op
from tgraph.ir.values import Constant, Input, Node, Parameter, Result, Value


def order_operands(graph: Graph) -> None:
    """f(y, x) = f(x, y): constants come last, before them parameter-only values, before these the others by depth.

    Equal depths are ordered by a digest of what is computed, which does not depend on the order that the operands had.
    Operands stay where another order would give the result's dims other names.
    """
    keys = _Keys(graph)
    report = current_report()
    for node in graph.nodes:
        if node.op.traits.commutative and keys.of(node.inputs[1]) < keys.of(node.inputs[0]) and _same_type(node):
            x, y = node.inputs
            graph.set_operand(node, 0, y)
            graph.set_operand(node, 1, x)
            report.rewrote("f(y, x) = f(x, y)", (node,), node.results)
        elif node.op.traits.mirrored and [isinstance(v, Constant) for v in node.inputs] == [True, False]:
            keys.add(mirrored := _mirror(graph, node))
            report.rewrote("c < x = x > c", (node,), mirrored.results)
            continue
        keys.add(node)


def _mirror(graph: Graph, node: Node) -> Node:
    """Replace a comparison c < x by x > c."""
    x, y = node.inputs
    assert node.op.traits.mirrored is not None
    new: Value = graph.insert(get_op(node.op.traits.mirrored), (y, x), {}, node.provenance)
    assert isinstance(new, Result)
    graph.replace(node.result, new)
    graph.erase(node)
    return new.node


def _same_type(node: Node) -> bool:
    """Whether the result has the same type with the operands swapped."""
    types = [v.type for v in reversed(node.inputs)]
    return bool(node.op.infer(*types) == node.result.type)


class _Keys:
    """Sort keys of values: kind, depth, and a digest of the computation."""

    def __init__(self, graph: Graph):
        self._parameter_only = prepared(graph)
        self._position = {value: i for i, value in enumerate(graph.inputs)}
        self._depth: dict[Node, int] = {}
        self._digest: dict[Node, str] = {}

    def of(self, value: Value) -> tuple[int, int, Hashable]:
        kind = 2 if isinstance(value, Constant) else 1 if is_prepared(value, self._parameter_only) else 0
        if isinstance(value, Result):
            return kind, self._depth[value.node], f"{self._digest[value.node]}.{value.index}"
        return kind, 0, self._name(value)

    def add(self, node: Node) -> None:
        """Compute the keys of a node's results; operands come first."""
        self._depth[node] = 1 + max((self._depth[v.node] for v in node.inputs if isinstance(v, Result)), default=0)
        operands = ["none" if v is None else self._name(v) for v in node.operands]
        if node.op.traits.commutative:
            operands.sort()
        attributes = ", ".join(f"{name}={attribute(value)}" for name, value in node.attrs.items())
        self._digest[node] = hashlib.sha256(f"{node.op.name}({', '.join(operands)}) {attributes}".encode()).hexdigest()
        if all(is_prepared(v, self._parameter_only) for v in node.inputs) and node.inputs:
            self._parameter_only.add(node)

    def _name(self, value: Value) -> str:
        if isinstance(value, Result):
            return f"{self._digest[value.node]}.{value.index}"
        if isinstance(value, Input):
            return f"%{self._position[value]:09}"
        if isinstance(value, Parameter):
            return f"@{value.name}"
        return f"#{value.type} {value.digest}" if isinstance(value, Constant) else "?"
