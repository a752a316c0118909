"""Quantisation of products to 8-bit integers: weights beforehand, activations row by row in every call."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.products import PROJECTIONS, missed
from passes.rewriting import current_report
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.dtypes import f32
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value


@register_pass
@dataclass(frozen=True)
class QuantizeProducts(Pass):
    """x W^T + b = s_x s_W (q_x q_W^T) + b, nearly, where (q, s) = quantize_rows: 8-bit integers and a scale for each row.

    For `linear` and `matmul` of f32 with a parameter-only matrix W. Each output channel of W has a scale of its own, and so has
    each row of x (each token), which is quantised in every call; the sums are exact, in i32. An embedding table becomes
    q[i] s[i]. Products of two inputs, attention, norms and biases stay in f32. Changes results by what 8 bits cannot hold,
    about 0.4 % of a row's largest element at most. Functions that are called stay as they are; run `inline` first.
    """

    effect = "changes-meaning"

    def apply(self, graph: Graph) -> None:
        quantizing = _Quantizing(graph, prepared(graph))
        for node in graph.nodes:
            if node in quantizing.parameter_only or node.op.name not in (*PROJECTIONS, "embedding"):
                continue
            reason = quantizing.reason_to_keep(node)
            if node.op.name == "embedding":
                rule, rewrite = "table[i] = s[i] q[i]", quantizing.table
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

    def reason_to_keep(self, node: Node) -> str | None:
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
        return None

    def product(self, node: Node) -> Value:
        x, weight, *bias = (v for v in node.operands if v is not None)
        b = Builder(self.graph, node.provenance)
        if node.op.name == "matmul":
            if weight not in self._transposed:
                self._transposed[weight] = b.transpose(weight)
            weight = self._transposed[weight]
        (q, scale), (q_weight, weight_scale) = self.rows(b, x), self.rows(b, weight)
        sums = b.cast(b.integer_linear(q, q_weight), dtype=f32)
        made: Value = b.mul(b.mul(sums, scale), b.reshape(weight_scale, shape=(weight.shape[0],)))
        return b.add(made, bias[0]) if bias else made

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
