"""Weights made of integers as one `dequantize`, which the kernels of products read as it is stored."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.products import PROJECTIONS, missed
from passes.quantized import read_matrix
from passes.rewriting import current_report, erase_dead
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value

RULE = "x ((q - zero) scale)^T = linear(x, dequantize(q, scale, zero))"
JOINED = "concat(dequantize(q), dequantize(r)) = dequantize(concat(q, r))"


@register_pass
@dataclass(frozen=True)
class FuseDequantize(Pass):
    """x ((q - zero) scale)^T = linear(x, dequantize(q, scale, zero)) for a parameter-only matrix of 8-bit integers.

    In all variants: zero or scale left out, the weight transposed (`matmul`) or not, one zero and scale for all or one an output
    channel. Weights joined one below the other, as fuse-qkv joins them, are one `dequantize` again. Results are those of the
    chain bit by bit.
    """

    effect = "exact"
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        parameter_only = prepared(graph)
        for node in graph.nodes:
            if node not in graph or node.op.name not in PROJECTIONS or node in parameter_only:
                continue
            weight = node.inputs[1]
            if not is_prepared(weight, parameter_only) or weight.type.rank != 2 or not weight.dtype.is_float:
                missed(RULE, node, "the weight is no matrix of floats that is known before the inputs")
            elif isinstance(weight, Result) and weight.node.op.name == "concat":
                _join(graph, node, weight.node)
            else:
                _fuse(graph, node)


def _fuse(graph: Graph, node: Node) -> None:
    weight = node.inputs[1]
    if isinstance(weight, Result) and weight.node.op.name == "dequantize":
        missed(RULE, node, "the weight is a dequantize already")
        return
    matrix = read_matrix(graph, weight, node.op.name == "matmul")
    if isinstance(matrix, str):
        missed(RULE, node, matrix)
        return
    b = Builder(graph, node.provenance)
    found = matrix.as_weight(b)
    one = b.constant(1.0, weight.dtype)
    made = b.dequantize(found.q, one if found.scale is None else found.scale, found.zero, depth=found.q.shape[1],
                        block=found.q.shape[1])
    _put(graph, node, made)
    current_report().rewrote(RULE, [node], [made])


def _put(graph: Graph, node: Node, weight: Value) -> None:
    """Make a product one with another weight, [out, in]."""
    bias = node.operands[2] if len(node.operands) > 2 else None
    graph.replace(node.result, Builder(graph, node.provenance).linear(node.inputs[0], weight, bias))
    erase_dead(graph, [node], above=True)


def _join(graph: Graph, node: Node, concat: Node) -> None:
    parts = [v.node for v in concat.inputs if isinstance(v, Result) and v.node.op.name == "dequantize"]
    if node.op.name != "linear" or concat.attrs["axis"] % 2 or len(parts) < len(concat.inputs):
        missed(JOINED, node, "not all that is joined, one below the other, is a dequantize")
        return
    first = parts[0]
    if any(p.attrs != first.attrs or p.inputs[0].dtype != first.inputs[0].dtype for p in parts):
        missed(JOINED, node, "blocks or integers differ")
        return
    b = Builder(graph, Provenance.merge(n.provenance for n in (*parts, concat)))
    blocks = -(-first.attrs["depth"] // first.attrs["block"])
    made: list[Value | None] = []
    for position in range(3):
        operands = [p.operands[position] for p in parts]
        if all(v is operands[0] and (v is None or v.type.rank == 0) for v in operands):
            made.append(operands[0])
        elif any(v is None for v in operands):
            missed(JOINED, node, "some have zero points and some have none")
            return
        else:
            made.append(b.concat(*[v if v.type.rank else b.expand(v, shape=(p.inputs[0].shape[0], blocks))  # type: ignore[union-attr]
                                   for v, p in zip(operands, parts)], axis=0))
    joined = b.dequantize(*made, **first.attrs)
    _put(graph, node, joined)
    current_report().rewrote(JOINED, [concat, *parts], [joined])
