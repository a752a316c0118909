"""Products with weights of few bits in blocks: MatMulNBits of com.microsoft, since the standard has no such product."""

from __future__ import annotations

from typing import Any

from ....ir.dtypes import f16, f32, i64, u8
from ....ir.errors import FormatError
from ....ir.values import Constant, Node, Result, Value
from ..registry import MICROSOFT
from .table import exporter
from .writer import WrittenNode

BLOCKS = (16, 32, 64, 128, 256)  # that MatMulNBits has


def _blocks(weight: Value | None) -> Node | None:
    """The `dequantize` that makes a weight, if MatMulNBits can take its place in all products that read it."""
    if not isinstance(weight, Result) or weight.node.op.name != "dequantize":
        return None
    node = weight.node
    known = node.attrs["block"] in BLOCKS and node.inputs[0].dtype == u8 and weight.dtype in (f16, f32)
    fits = known and isinstance(weight.shape[0], int)
    products = all(user.op.name == "linear" and position == 1 for user, position in weight.uses)
    return node if fits and weight.uses and products else None


@exporter("dequantize", when=lambda node: _blocks(node.result) is not None)
def dequantize(node: WrittenNode, *operands: str) -> Any:
    """Nothing by itself: the products have it."""
    if node.to.graph.is_output(node.node.result):
        raise FormatError(f"graph {node.to.graph.name} cannot be exported: a weight in blocks is an output and read by products")
    return ""


@exporter("linear", when=lambda node: _blocks(node.operands[1]) is not None)
def linear(node: WrittenNode, x: str, weight: str, bias: str) -> Any:
    made = _blocks(node.node.operands[1])
    assert made is not None
    packed, scale, zero = made.operands
    assert packed is not None and scale is not None
    block, bits, depth = (made.attrs[name] for name in ("block", "bits", "depth"))
    rows, blocks, size = made.result.shape[0], -(-depth // block), block * bits // 8
    missing = blocks * size - -(-depth * bits // 8)
    q = node.to.name(packed)
    if missing:
        q = node.emit("Concat", q, node.array([[0] * missing] * int(rows), u8), axis=1)
    q = node.emit("Reshape", q, node.array([rows, blocks, size]))

    def of_each(value: Value) -> str:
        name = node.to.name(value)
        name = node.emit("Expand", name, node.array([rows, blocks])) if value.type.rank == 0 else name
        return str(node.emit("Reshape", name, node.array([rows * blocks], i64)))

    middle = isinstance(zero, Constant) and zero.data is not None and bool((zero.data == 2 ** (bits - 1)).all())
    zeros = "" if middle else node.array([0.0] * int(rows * blocks), scale.dtype) if zero is None else of_each(zero)
    found = node.emit("MatMulNBits", x, q, of_each(scale), zeros, domain=MICROSOFT, K=depth, N=rows, bits=bits, block_size=block)
    return node.emit("Add", found, bias) if bias else found
