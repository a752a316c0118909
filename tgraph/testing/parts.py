"""Ops taken apart, each part with a rounding of its own.

gelu is x / 2 (1 + tanh ...): far below 0 nothing is left of the sum but what the rounding of tanh makes of it, -4e-16 or -0.0. To
move the result of gelu as a whole by some units does not show that; a quotient by it does.
"""

from __future__ import annotations

from passes.manager import optimize
from tgraph.ir.dtypes import DType
from tgraph.ir.errors import TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node


def parts_of(node: Node, least: DType) -> Graph | None:
    """What the op of a node is made of, as a graph whose inputs are the node's operands; None if the op is a primitive, or has
    results other than floats.

    Floats are of the type `least` or wider, so that numbers such as sqrt(1 / 2) are rounded no more than the op's own.
    """
    if node.op.decompose is None or not all(v.dtype.is_float for v in node.results):
        return None
    graph = Graph("parts")
    operands = [None if v is None else graph.input(f"x{i}", v.type.with_dtype(_wider(v.dtype, least)))
                for i, v in enumerate(node.operands)]
    attrs = {name: _wider(value, least) if isinstance(value, DType) else value for name, value in node.attrs.items()}
    try:
        made = graph.insert(node.op, operands, attrs)
        graph.set_outputs([(f"y{i}", v) for i, v in enumerate(made if isinstance(made, tuple) else (made,))])
        return optimize(graph, "decompose")
    except TGraphError:  # an op of halves alone
        return None


def _wider(dtype: DType, least: DType) -> DType:
    return least if dtype.is_float and dtype.itemsize < least.itemsize else dtype
