"""References with more range than the element types have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgraph.ir.dtypes import DType
from tgraph.ir.errors import RuleError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value
from tgraph.reference.interpreter import Interpreter

LONG_DOUBLE = DType("long double", "float", 8 * np.dtype(np.longdouble).itemsize, "longdouble")


class Unbounded(Interpreter):
    """A reference whose floats have the range of C's long double, where that has more than a double's."""

    def working(self, dtype: DType) -> DType:
        return LONG_DOUBLE if dtype.is_float else dtype

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: dict[str, int]) -> tuple[np.ndarray, ...]:
        try:
            return super().apply(node, operands, sizes)
        except RuleError:  # some ops ask what the type of an operand is, and a long double has none
            with np.errstate(over="ignore"):
                narrow = [o.astype(np.float64) if o is not None and o.dtype == np.longdouble else o for o in operands]
            return super().apply(node, narrow, sizes)


class Logarithms(Interpreter):
    """A reference that keeps the logarithms of exponentials, if these are summed, of their sums, products and quotients.

    e^-200 is 0 in f32 and e^200 infinite, so their logarithms are infinite, and quotients NaN. `softmax` and `log_softmax`, which
    `fuse-softmax` makes of such nodes, do not go that way.
    """

    def __init__(self, graph: Graph, **options: Any):
        super().__init__(graph, **options)
        self.logs: dict[Value, np.ndarray] = {}

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: dict[str, int]) -> tuple[np.ndarray, ...]:
        results = super().apply(node, operands, sizes)
        if len(results) != 1 or not node.result.dtype.is_float:
            return results
        result = results[0]
        with np.errstate(all="ignore"):
            if node.op.name == "log" and node.inputs[0] in self.logs:
                return (self.logs[node.inputs[0]].astype(result.dtype),)
            log = self._log(node, [wide(o) for o in operands if o is not None], result)
            if log is None or (np.isnan(log) & (wide(result) < 0)).any():
                return results
            self.logs[node.result] = log
            return (np.where(is_finite(result), result, np.exp(log)).astype(result.dtype),)

    def _log(self, node: Node, operands: Sequence[np.ndarray], result: np.ndarray) -> np.ndarray | None:
        """The logarithm of the result of a node, if it can be computed without."""
        name, known = node.op.name, [self.logs.get(v) for v in node.inputs]
        if gives_weights(node):
            return operands[0] - _log_of_sum(operands[0], node.attrs["axis"]) if name == "softmax" else operands[0]
        if all(log is None for log in known):
            return None
        logs = [np.log(o) if log is None else log for o, log in zip(operands, known)]
        if name in ("mul", "div"):
            return logs[0] + logs[1] if name == "mul" else logs[0] - logs[1]
        if name == "reciprocal":
            return -logs[0]
        if name == "reduce_sum":
            return _log_of_sum(logs[0], node.attrs["axes"]).reshape(result.shape)
        return logs[0].reshape(result.shape) if name in ("cast", "reshape", "squeeze", "unsqueeze") else None


class UnboundedLogarithms(Logarithms, Unbounded):
    """Both: e^-1e30 has no place in a long double either."""


def gives_weights(node: Node) -> bool:
    """Whether a node is a softmax, or the exponentials of one that is spelt out, which are summed, maybe after a mask."""
    if node.op.name != "exp":
        return node.op.name == "softmax"
    readers = node.result.users
    return any(u.op.name == "reduce_sum" for u in (*readers, *(u for r in readers for v in r.results for u in v.users)))


def wide(array: np.ndarray) -> np.ndarray:
    """An array in float64, or in the long doubles that it has."""
    return array if array.dtype == np.longdouble else array.astype(np.float64)


def is_finite(array: np.ndarray) -> np.ndarray:
    """Which elements are neither infinite nor NaN, for every element type."""
    return np.isfinite(wide(array))


def _log_of_sum(logs: np.ndarray, axes: int | tuple[int, ...]) -> np.ndarray:
    """ln sum e^x over axes, which stay with size 1."""
    largest = np.max(logs, axis=axes, keepdims=True, initial=-np.inf)
    return np.where(np.isneginf(largest), largest, largest + np.log(np.exp(logs - largest).sum(axis=axes, keepdims=True)))
