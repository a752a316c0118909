"""Products of shifted 8-bit integers as products of the integers themselves."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.quantized import integer_product, read_matrix, read_quantized, rewrite_products
from tgraph.ir.builder import Builder
from tgraph.ir.dtypes import i32
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value

RULE = "(x - z) (q - w)^T = integer_linear(x, q) - z sum(q) - (sum(x) - z K) w"


@register_pass
@dataclass(frozen=True)
class FuseIntegerLinear(Pass):
    """(x - z) (q - w)^T = integer_linear(x, q) - z sum(q) - (sum(x) - z K) w for products in i32 of 8-bit integers x and q.

    q is parameter-only and keeps its 8 bits, so do its sums, which are known beforehand; those of x over its rows of K elements
    are there only where w is not 0. z is one number or one a row, known or not, w one for all or one an output channel; q of
    u8 becomes q - 128. ONNX MatMulInteger, QLinearMatMul and what is written with them. All modulo 2^32, as sums of i32 are.
    """

    effect = "exact"
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        rewrite_products(graph, RULE, _product, i32)


def _product(graph: Graph, node: Node) -> Value | str:
    """The result of a product, from 8-bit integers; or the reason why it stays one of i32."""
    x, weight = node.inputs[:2]
    bias = node.operands[2] if len(node.operands) > 2 else None
    left = read_quantized(graph, x)
    if left is None or left.scale is not None:
        return "the left operand is no 8-bit integer less a zero point"
    if left.zero is not None and left.zero.type.rank and left.zero.shape[-1] != 1:
        return "zero points of the left operand differ within a row"
    matrix = read_matrix(graph, weight, node.op.name == "matmul")
    if isinstance(matrix, str):
        return matrix
    if matrix.found.scale is not None:
        return "the weight has a scale"
    b = Builder(graph, node.provenance)
    made = integer_product(b, left.q, left.zero, matrix.as_weight(b))
    return made if bias is None else b.add(made, bias)
