"""What a call has to do at least: multiplications, and bytes between memory and caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tgraph.ir.dims import evaluate
from tgraph.ir.graph import Graph
from tgraph.ir.values import Parameter
from tgraph.ops.attention import limits

PRODUCTS = ("linear", "matmul", "einsum")
LOOKUPS = ("embedding", "gather")
LAYERS = {"rnn": 1, "gru": 3, "lstm": 4}  # recurrent ones, with their gates


def product_flops(graph: Graph, sizes: Mapping[str, int]) -> int:
    """Operations of products and attention (with the keys that a query's place allows): what the peak of multiply-adds bounds."""
    total = 0
    for node in graph.nodes:
        if node.op.name in PRODUCTS:
            total += evaluate(node.flops, sizes)
        elif node.op.name in LAYERS:  # of each unit and gate, with the input and with the state
            depth = sum(evaluate(weight.shape[-1], sizes) for weight in node.inputs[1:3])
            total += 2 * LAYERS[node.op.name] * depth * evaluate(node.results[0].type.size, sizes)
        elif node.op.name == "attention":
            (batch, heads, queries, dim), (_, _, keys, _), (_, _, _, value_dim) = (
                [evaluate(d, sizes) for d in operand.shape] for operand in node.inputs[:3] if operand is not None)
            pairs = queries * keys
            left, right = limits(node.attrs["causal"], node.attrs["window"])
            if left is not None or right is not None:
                first = [0 if left is None else max(0, query - left) for query in range(queries)]
                end = [keys if right is None else min(query + right + 1, keys) for query in range(queries)]
                pairs = sum(max(0, b - a) for a, b in zip(first, end))
            total += 2 * batch * heads * pairs * (dim + value_dim)
    return total


def least_bytes(graph: Graph, sizes: Mapping[str, int]) -> int:
    """All weights once, of a table only the rows that are looked up, inputs and outputs."""
    values = [*graph.inputs, *(value for _, value in graph.outputs)]
    tables: dict[Parameter, int] = {}
    for node in graph.nodes:
        table = node.inputs[1 if node.op.name == "embedding" else 0] if node.op.name in LOOKUPS else None
        if isinstance(table, Parameter):
            tables[table] = tables.get(table, 0) + sum(evaluate(r.type.nbytes, sizes) for r in node.results)
    weights = sum(evaluate(p.type.nbytes, sizes) for p in graph.parameters.values() if p not in tables)
    return weights + sum(tables.values()) + sum(evaluate(v.type.nbytes, sizes) for v in values)


def ragged_flops(graph: Graph, lengths: Sequence[int]) -> int:
    """Of a batch whose padding nobody computes: each sequence at its own length."""
    return sum(product_flops(graph, {"B": 1, "S": length}) for length in lengths)
