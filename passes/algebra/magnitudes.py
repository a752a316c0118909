"""Bounds on magnitudes: the large constants that reach a value, and whether a value may be large."""

from __future__ import annotations

import numpy as np

from tgraph.ir.values import Constant, Node, Parameter, Result, Value


class LargeConstants:
    """Finds finite constants above a limit that reach values through ops that carry magnitudes; caches what it found."""

    def __init__(self, limit: float):
        self.limit = limit
        self._found: dict[Value, float | None] = {}

    def reaching(self, value: Value) -> float | None:
        """One of the large constants that reach a value, or None."""
        pending = [value]
        while pending:
            current = pending[-1]
            below = current.node.inputs if isinstance(current, Result) and _carries(current.node) else ()
            unknown = [v for v in below if v not in self._found]
            if unknown:
                pending += unknown
                continue
            pending.pop()
            numbers = [n for v in below if (n := self._found[v]) is not None]
            self._found[current] = numbers[0] if numbers else self._own(current)
        return self._found[value]

    def _own(self, value: Value) -> float | None:
        if isinstance(value, Constant) and value.data is not None and not value.dtype.is_bool:
            numbers = value.data.astype(np.float64)
        elif isinstance(value, Result) and value.node.op.name == "full":
            numbers = np.array(float(value.node.attrs["value"]))
        else:
            return None
        large = numbers[np.isfinite(numbers) & (np.abs(numbers) > self.limit)]
        return float(large.reshape(-1)[0]) if large.size else None


def _carries(node: Node) -> bool:
    """Whether a large number in an operand may be, or stay in, the result."""
    return node.op.traits.magnitude == "carried"


def may_exceed(value: Value, limit: float) -> bool:
    """Whether some element of a value may exceed a limit: because an input, a parameter or such a constant reaches it.

    Results of products, norms and the like, and rows looked up in a parameter, are taken to be of ordinary size.
    """
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        if isinstance(current, Constant):
            if current.data is None or not bool((np.abs(current.data.astype(np.float64)) <= limit).all()):
                return True
        elif not isinstance(current, Result):
            if current.dtype.is_float:
                return True
        elif current.node.op.name == "full":
            if not abs(float(current.node.attrs["value"])) <= limit:
                return True
        elif current.node.op.traits.magnitude != "bounded":
            looked_up = current.node.op.traits.lookup is not None
            below = [v for v in current.node.inputs if not (looked_up and isinstance(v, Parameter)) and v not in seen]
            seen.update(below)
            pending += below
    return False
