"""What is infinite or NaN where a mask excludes it, which passes leave out or let in (docs/precision.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value
from tgraph.reference.interpreter import Interpreter
from tgraph.testing.ranges import gives_weights, is_finite, wide

FILL = -1e30  # from here on a term of scores is a mask's, as in `fuse-attention`

Sizes = dict[str, int]
Arrays = Sequence[np.ndarray | None]


class LeftOut(Interpreter):
    """A reference in which a key that a mask excludes takes no part in scores + mask, nor in weights @ values."""

    def __init__(self, graph: Graph, **options: Any):
        super().__init__(graph, **options)
        self.scores = _scores(graph)
        self.excluded: dict[Value, np.ndarray] = {}  # which weights are 0 because of a mask, not because they are small

    def apply(self, node: Node, operands: Arrays, sizes: Sizes) -> tuple[np.ndarray, ...]:
        results = super().apply(node, operands, sizes)
        if len(results) != 1 or not node.result.dtype.is_float or any(o is None for o in operands):
            return results
        result, arrays = results[0], [np.asarray(o) for o in operands]
        if gives_weights(node):
            self.excluded[node.result] = wide(arrays[0]) <= FILL
        elif node.op.name == "add" and node.result in self.scores:
            for term in arrays:
                result = np.where((wide(term) <= FILL) & ~is_finite(result), term, result)
        elif node.op.contract is not None and len(arrays) == 2:
            for position in (0, 1):
                if node.inputs[position] in self.excluded:
                    result = self._product(node, position, arrays, sizes)
        else:
            self._carry(node, arrays, result, sizes)
        return (result,)

    def _product(self, node: Node, position: int, operands: list[np.ndarray], sizes: Sizes) -> np.ndarray:
        """The product without what excluded keys make of infinite values and NaN; the others make of them what they do."""
        weights, values = operands[position], operands[1 - position]
        attended = ~self.excluded[node.inputs[position]] | (weights != 0)
        odd = ~is_finite(values)

        def product(w: np.ndarray, v: np.ndarray) -> np.ndarray:
            both = w.astype(weights.dtype), v.astype(values.dtype)
            return super(LeftOut, self).apply(node, both if position == 0 else both[::-1], sizes)[0]

        with np.errstate(all="ignore"):
            result = product(weights, np.where(odd, np.zeros((), values.dtype), values))
            for terms, sum_ in (((weights > 0, values == np.inf), np.inf), ((weights > 0, values == -np.inf), -np.inf),
                                ((attended, np.isnan(values)), np.nan), ((attended & ~(weights > 0), odd), np.nan)):
                result = np.where(product(*terms) > 0, result + np.asarray(sum_, result.dtype), result)
        return result

    def _carry(self, node: Node, operands: list[np.ndarray], result: np.ndarray, sizes: Sizes) -> None:
        """Which weights are excluded, after a view of them, a cast, a quotient, or a selection."""
        for value, array in zip(node.inputs, operands):
            excluded = self.excluded.get(value)
            if excluded is None:
                continue
            if node.op.elementwise:
                selected = (result == 0) & (array != 0) if node.op.name in ("where", "mul") else False
                self.excluded[node.result] = np.broadcast_to(excluded, result.shape) | selected
            elif node.op.traits.view is not None and len(operands) == 1:
                self.excluded[node.result] = super().apply(node, [excluded.astype(array.dtype)], sizes)[0] != 0


class LetIn(Interpreter):
    """A reference that adds a finite fill to the scores that it hides, instead of selecting it."""

    def __init__(self, graph: Graph, **options: Any):
        super().__init__(graph, **options)
        self.scores = _scores(graph)

    def apply(self, node: Node, operands: Arrays, sizes: Sizes) -> tuple[np.ndarray, ...]:
        results = super().apply(node, operands, sizes)
        if node.op.name != "where" or node.result not in self.scores:
            return results
        condition, *branches = [np.asarray(o) for o in operands]
        result = results[0]
        with np.errstate(all="ignore"):
            for chosen, fill, score in ((condition, *branches), (~condition, *reversed(branches))):
                hidden = chosen & (wide(fill) <= FILL) & is_finite(fill) & ~is_finite(score)
                result = np.where(hidden, score + fill, result)
        return (result,)


def _scores(graph: Graph) -> set[Value]:
    """What softmaxes are computed from."""
    found: set[Value] = set()
    for node in reversed(graph.nodes):
        if gives_weights(node) or any(r in found for r in node.results):
            found.update(node.inputs)
    return found
