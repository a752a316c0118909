"""Values that roundings carry from one side of 0 to the other, or past each other.

Of numbers that cancel, rounding decides what is left: 1e-9, -3e-8, or nothing at all. A logarithm or a quotient of that is an
infinity or NaN for the last alone, which runs with moved roundings seldom meet. Of 33 numbers that are equal but for rounding,
any may be the largest; each run shows one. Two that are equal but for rounding are equal in few runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value
from tgraph.reference.interpreter import Interpreter

ORDERS = ("argmax", "argsort", "topk")


class Crossings:
    """Between which numbers each element of each node's results lies, over the runs that are observed; NaN is left out."""

    def __init__(self) -> None:
        self.ranges: dict[Node, list[tuple[np.ndarray, np.ndarray]]] = {}

    def observe(self, node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        found = [r if v.dtype.is_float else np.zeros((), r.dtype) for r, v in zip(results, node.results)]
        before = self.ranges.get(node, [(r, r) for r in found])
        self.ranges[node] = [(np.fmin(low, r), np.fmax(high, r)) for (low, high), r in zip(before, found)]

    def of(self, node: Node) -> list[np.ndarray]:
        """Which elements are below 0 in one run, above in another, or 0 in some runs only: roundings decide about these."""
        with np.errstate(invalid="ignore"):
            return [(low <= 0) & (high >= 0) & (low < high) for low, high in self.ranges.get(node, [])]

    def meet(self, x: Value, y: Value) -> np.ndarray | bool:
        """Which elements of two values have numbers in common, over all runs, and are no numbers that rounding leaves alone."""
        if not (isinstance(x, Result) and isinstance(y, Result)) or not self.ranges.keys() >= {x.node, y.node}:
            return False
        (low, high), (least, most) = self.ranges[x.node][x.index], self.ranges[y.node][y.index]
        return (low <= most) & (least <= high) & ((low < high) | (least < most))

    def ordered(self, node: Node) -> tuple[np.ndarray, np.ndarray] | None:
        """The ranges of what a node puts in order, if roundings move any of it."""
        value = node.operands[0] if node.op.name in ORDERS else None
        if not isinstance(value, Result) or value.node not in self.ranges:
            return None
        low, high = self.ranges[value.node][value.index]
        return (low, high) if (low < high).any() else None

    def longest_order(self) -> int:
        """The length of the longest axis that is put in order."""
        found = [(node, self.ordered(node)) for node in self.ranges]
        return max((r[0].shape[node.attrs["axis"]] for node, r in found if r is not None), default=0)


class Crossed(Interpreter):
    """A reference that depends on where the numbers of other runs crossed. Within called functions, of which none were observed,
    it is the reference itself."""

    def __init__(self, graph: Graph, crossings: Crossings, *, faithful: bool):
        super().__init__(graph, faithful=faithful)
        self.crossings = crossings

    def _inner(self, function: Graph) -> Interpreter:
        return Interpreter(function, faithful=self.faithful, weights=self.weights)


class Left(Crossed):
    """A reference whose values are `left` where the roundings of other runs carried them across 0, as far as these went.

    Of 1e38 + 3 - 1e38 the order of the sum leaves 0 or 3, moved roundings +-1e31: with all of that, 0 with its signs and 1 with
    its signs are among what is left.
    """

    def __init__(self, graph: Graph, crossings: Crossings, left: float, *, faithful: bool):
        super().__init__(graph, crossings, faithful=faithful)
        self.left = left

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: dict[str, int]) -> tuple[np.ndarray, ...]:
        """What has become infinite or NaN, such as a quotient, stays."""
        results = super().apply(node, operands, sizes)
        ranges = self.crossings.ranges.get(node, [])
        return tuple(np.where(mask & np.isfinite(r.astype(np.float64)), self._between(r, low, high), r) if mask.any() else r
                     for r, mask, (low, high) in zip(results, self.crossings.of(node), ranges))

    def _between(self, result: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        left = np.asarray(self.left, low.dtype)
        return np.clip(left, np.fmin(low, result), np.fmax(high, result)) if self.left else left


class Extreme(Crossed):
    """A reference that puts numbers in order of which one is the largest that any run made of it, and all others the smallest; or
    the reverse. `position`: which one of an axis, counted on from its start behind its end."""

    def __init__(self, graph: Graph, crossings: Crossings, position: int, largest: bool, *, faithful: bool):
        super().__init__(graph, crossings, faithful=faithful)
        self.position, self.largest = position, largest

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: dict[str, int]) -> tuple[np.ndarray, ...]:
        ranges, x = self.crossings.ordered(node), operands[0] if operands else None
        if ranges is not None and x is not None:
            low, high = (np.moveaxis(np.where(np.isnan(x), x, r), node.attrs["axis"], -1) for r in ranges)
            picked = np.arange(low.shape[-1]) == self.position % low.shape[-1]
            operands = [np.moveaxis(np.where(picked == self.largest, high, low), -1, node.attrs["axis"])]
        return super().apply(node, operands, sizes)


class Met(Crossed):
    """A reference that compares numbers as equal if roundings can make them so."""

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: dict[str, int]) -> tuple[np.ndarray, ...]:
        if node.op.traits.negated is not None and node.inputs[0].dtype.is_float:
            x, y = (np.asarray(o) for o in operands)
            operands = [x, np.where(self.crossings.meet(*node.inputs) & ~np.isnan(x), x, y)]
        return super().apply(node, operands, sizes)
