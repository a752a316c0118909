"""Products of two quantised operands as products of integers."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.quantized import LONGEST, integer_product, one_number, read_matrix, read_quantized, rewrite_products, whole
from tgraph.ir.builder import Builder
from tgraph.ir.dtypes import f32
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value

RULE = "(s_x (q_x - z_x)) (s_W (q_W - z_W))^T = s_x s_W ((q_x - z_x) (q_W - z_W)^T)"


@register_pass
@dataclass(frozen=True)
class FuseQdq(Pass):
    """(s_x (q_x - z_x)) (s_W (q_W - z_W))^T = s_x s_W ((q_x - z_x) (q_W - z_W)^T), the product one of integers, with sums in i32.

    Where a product reads 8-bit integers that are widened on both sides, as ONNX's QDQ format says it: QuantizeLinear,
    DequantizeLinear, and a weight from DequantizeLinear. s_x and z_x are one number, s_W and z_W one for all or one an output
    channel. The sums of integers are exact, so that less is rounded than in floats. Sums that might leave i32 stay floats.
    """

    effect = "rounds"
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        rewrite_products(graph, RULE, _in_integers, f32)


def _in_integers(graph: Graph, node: Node) -> Value | str:
    """The result of a product, from integers; or the reason why it stays a product of floats."""
    x, weight = node.inputs[:2]
    bias = node.operands[2] if len(node.operands) > 2 else None
    left = read_quantized(graph, x)
    if left is None or left.scale is None:
        return "the left operand is not made of 8-bit integers"
    if left.scale.type.size != 1 or (left.zero is not None and left.zero.type.size != 1):
        return "scale or zero point of the left operand are not one number"
    depth = x.shape[-1]
    if not isinstance(depth, int) or depth > LONGEST:
        return f"a sum over {depth} products may leave i32"
    matrix = read_matrix(graph, weight, node.op.name == "matmul")
    if isinstance(matrix, str):
        return matrix
    if not (whole(left.zero) and whole(matrix.found.zero)):
        return "a zero point may be no 8-bit integer"
    b = Builder(graph, node.provenance)
    right = matrix.as_weight(b)
    sums = integer_product(b, left.q, one_number(b, left.zero), right)
    scale = one_number(b, left.scale)
    if right.scale is not None:
        by = right.scale if right.scale.type.rank == 0 else b.reshape(right.scale, shape=(right.scale.shape[0],))
        scale = b.mul(scale, by)
    made: Value = b.mul(b.cast(sums, dtype=f32), scale)
    return made if bias is None else b.add(made, bias)
