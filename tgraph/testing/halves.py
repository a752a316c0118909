"""Half precisions that are rounded at some values only, as fused kernels do it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tgraph.ir.graph import Graph
from tgraph.ir.values import Node
from tgraph.reference.interpreter import Interpreter


class RoundedAt(Interpreter):
    """A reference in float64 that rounds the results of some nodes, and no others, to their types."""

    def __init__(self, graph: Graph, nodes: Collection[Node]):
        super().__init__(graph)
        self.nodes = nodes

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: dict[str, int]) -> tuple[np.ndarray, ...]:
        results = super().apply(node, operands, sizes)
        if node not in self.nodes:
            return results
        with np.errstate(over="ignore"):
            return tuple(r.astype(v.dtype.numpy).astype(r.dtype) for r, v in zip(results, node.results))

    def _inner(self, function: Graph) -> Interpreter:
        return Interpreter(function, weights=self.weights)


def rounded_in_places(graph: Graph) -> list[RoundedAt]:
    """For each node that gives half precisions a run in which it alone rounds them; and some in which each does by chance."""
    nodes = [n for n in graph.nodes if any(v.dtype.is_float and v.dtype.itemsize < 4 for v in n.results)]
    sets = [{n} for n in nodes]
    for chance in (np.random.default_rng(i) for i in range(8)):
        sets.append({n for n, rounds in zip(nodes, chance.random(len(nodes)) < 0.5) if rounds})
    return [RoundedAt(graph, some) for some in sets]
