"""Quantisation of products: to 8-bit integers on both sides, or of weights alone, to integers of few bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from passes.base import Pass, register_pass
from passes.products import PROJECTIONS, missed
from passes.rewriting import current_report
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.dtypes import bf16, f32
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value
from tgraph.ops.quantization import BITS


@register_pass
@dataclass(frozen=True)
class QuantizeProducts(Pass):
    """x W^T + b = s_x s_W (q_x q_W^T) + b, nearly, where (q, s) = quantize_rows: 8-bit integers and a scale for each row.

    With bits=4 or bits=2: x W^T + b = linear(x, dequantize(q_W, s_W), b), where (q, s) = quantize_blocks: integers of so many
    bits with a scale, kept in bf16, for each `block` of a row; x stays as it is, and so does a weight of as few bits.

    For `linear` and `matmul` of f32 with a parameter-only matrix W. Each output channel of W has a scale of its own, and so has
    each row of x (each token), which is quantised in every call; the sums are exact, in i32. An embedding table becomes
    q[i] s[i]. Products of two inputs, attention, norms and biases stay in f32. Changes results by what 8 bits cannot hold,
    about 0.4 % of a row's largest element at most; what 4 bits cannot hold is 6 % of a block's. Functions that are called
    stay as they are; run `inline` first.
    """

    effect = "changes-meaning"
    bits: int = 8
    block: int = 32

    def apply(self, graph: Graph) -> None:
        if self.bits not in BITS or self.block < 1:
            raise PassError(f"quantize-products: bits is one of {', '.join(map(str, BITS))} and block at least 1, got bits="
                            f"{self.bits}, block={self.block}")
        quantizing = _Quantizing(graph, prepared(graph))
        for node in graph.nodes:
            if node in quantizing.parameter_only or node.op.name not in (*PROJECTIONS, "embedding"):
                continue
            reason = quantizing.reason_to_keep(node, self.bits)
            if node.op.name == "embedding":
                rule, rewrite = "table[i] = s[i] q[i]", quantizing.table
            elif self.bits < 8:
                rule = f"{node.op.name}(x, W) = linear(x, dequantize(quantize_blocks(W)))"
                rewrite = partial(quantizing.blocks, bits=self.bits, block=self.block)
            else:
                rule, rewrite = f"{node.op.name}(x, W) = s_x s_W integer_linear(q_x, q_W)", quantizing.product
            if reason is not None:
                missed(rule, node, reason)
                continue
            made = rewrite(node)
            graph.replace(node.result, made)
            graph.erase(node)
            current_report().rewrote(rule, [node], [made])


class _Quantizing:
    """Values of one graph as 8-bit integers and scales, each made once."""

    def __init__(self, graph: Graph, parameter_only: set[Node]):
        self.graph, self.parameter_only = graph, parameter_only
        self._rows: dict[Value, tuple[Value, Value]] = {}
        self._transposed: dict[Value, Value] = {}
        self._narrow: dict[Value, Value] = {}

    def reason_to_keep(self, node: Node, bits: int) -> str | None:
        """The reason why a node must stay as it is, or None."""
        weight = node.inputs[1]
        if not is_prepared(weight, self.parameter_only):
            return "the weight is not known before the inputs"
        if weight.dtype != f32:
            return f"the weight is {weight.dtype}"
        if isinstance(weight, Result) and weight.node.op.name == "quantize_rows":
            return "the table is one of factors"
        if weight.type.rank != 2:
            return f"the weight has rank {weight.type.rank}, not 2"
        if bits < 8 and isinstance(weight, Result) and weight.node.op.name == "dequantize" and weight.node.attrs["bits"] <= bits:
            return f"the weight is stored in {weight.node.attrs['bits']} bits already"
        return None

    def product(self, node: Node) -> Value:
        x, weight, *bias = self._operands(node)
        b = Builder(self.graph, node.provenance)
        (q, scale), (q_weight, weight_scale) = self.rows(b, x), self.rows(b, weight)
        sums = b.cast(b.integer_linear(q, q_weight), dtype=f32)
        made: Value = b.mul(b.mul(sums, scale), b.reshape(weight_scale, shape=(weight.shape[0],)))
        return b.add(made, bias[0]) if bias else made

    def blocks(self, node: Node, bits: int, block: int) -> Value:
        x, weight, *bias = self._operands(node)
        b = Builder(self.graph, node.provenance)
        if weight not in self._narrow:
            packed, scale = b.quantize_blocks(weight, block=block, bits=bits)
            scale, zero = b.cast(b.cast(scale, dtype=bf16), dtype=f32), b.constant(float(2 ** (bits - 1)), f32)
            self._narrow[weight] = b.dequantize(packed, scale, zero, depth=weight.shape[1], block=block, bits=bits)
        made: Value = b.linear(x, self._narrow[weight], *bias)
        return made

    def _operands(self, node: Node) -> list[Value]:
        """Those of a product as a `linear`, with its weight [out, in]."""
        x, weight, *bias = (v for v in node.operands if v is not None)
        if node.op.name == "matmul":
            if weight not in self._transposed:
                self._transposed[weight] = Builder(self.graph, node.provenance).transpose(weight)
            weight = self._transposed[weight]
        return [x, weight, *bias]

    def table(self, node: Node) -> Value:
        indices, table = node.inputs
        b = Builder(self.graph, node.provenance)
        q, scale = self.rows(b, table)
        made: Value = b.mul(b.cast(b.embedding(indices, q), dtype=f32), b.embedding(indices, scale))
        return made

    def rows(self, b: Builder, x: Value) -> tuple[Value, Value]:
        if x not in self._rows:
            where = x.node.provenance if isinstance(x, Result) else b.provenance
            self._rows[x] = Builder(self.graph, where).quantize_rows(x)
        return self._rows[x]
