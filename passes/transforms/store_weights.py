"""Storage of weights in half precision, for computation in single precision."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.products import PROJECTIONS, missed
from passes.rewriting import current_report
from passes.transforms.mixed_precision import HALVES
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.dtypes import DType, f32
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value


@register_pass
@dataclass(frozen=True)
class StoreWeights(Pass):
    """x W^T = x f32(half(W))^T, and table[i] = f32(half(table)[i]); half is bf16 (the default) or f16.

    For parameter-only f32 matrices W of `linear` and `matmul`, and the tables of `embedding` and of `gather` along the first
    axis. half(W) belongs to the prepare part, so that half the bytes are kept and read; the kernel widens what it reads,
    and computes as it does with f32. Biases and norms stay in f32. An f16 above 65504 is infinite, a bf16 has 8 bits.
    Functions that are called stay as they are; run `inline` first.
    """

    effect = "rounds"
    dtype: str = "bf16"

    def apply(self, graph: Graph) -> None:
        if self.dtype not in HALVES:
            raise PassError(f"store-weights: dtype is {' or '.join(HALVES)}, got {self.dtype!r}")
        half, parameter_only = HALVES[self.dtype], prepared(graph)
        for node in graph.nodes:
            if node in parameter_only:
                continue
            if node.op.name in PROJECTIONS:
                rule = f"{node.op.name}(x, W) = {node.op.name}(x, f32({self.dtype}(W)))"
                reason = _reason_to_keep(node.inputs[1], parameter_only)
                if node.inputs[1].type.rank != 2:
                    reason = reason or f"the weight has rank {node.inputs[1].type.rank}, not 2"
            elif (lookup := node.op.traits.lookup) is not None:
                rule = f"{node.op.name}(table, i) = f32({node.op.name}({self.dtype}(table), i))"
                reason = _reason_to_keep(node.inputs[lookup.table], parameter_only)
                if lookup.axis is not None and node.attrs[lookup.axis] != 0:
                    reason = reason or "it does not look up whole rows"
            else:
                continue
            if reason is not None:
                missed(rule, node, reason)
            elif node.op.traits.lookup is not None:
                current_report().rewrote(rule, [node], [_store_table(graph, node, node.op.traits.lookup.table, half)])
            else:
                b = Builder(graph, node.provenance)
                graph.set_operand(node, 1, b.cast(b.cast(node.inputs[1], dtype=half), dtype=f32))
                current_report().rewrote(rule, [node], [node.result])


def _reason_to_keep(weight: Value, parameter_only: set[Node]) -> str | None:
    """The reason why a weight must stay as it is, or None."""
    if not is_prepared(weight, parameter_only):
        return "the weight is not known before the inputs"
    if weight.dtype != f32:
        return f"the weight is {weight.dtype}"
    if isinstance(weight, Result) and (weight.node.op.name == "dequantize" or (
            weight.node.op.name == "cast" and weight.node.inputs[0].dtype.bits < 32)):
        return "the weight is narrow already"
    return None


def _store_table(graph: Graph, node: Node, position: int, half: DType) -> Value:
    """Replace a lookup by one in the table as halves, widened after it."""
    b = Builder(graph, node.provenance)
    operands = list(node.operands)
    operands[position] = b.cast(operands[position], dtype=half)
    made: Value = b.cast(graph.insert(node.op, operands, node.attrs, node.provenance), dtype=f32)
    graph.replace(node.result, made)
    graph.erase(node)
    return made
