"""Which large constants a value is made of."""

from __future__ import annotations

import numpy as np

from tgraph.ir.values import Constant, Result, Value

# what a large number comes through: moves, sums, scales and selections; a norm or an activation makes another one of it
CARRIES = frozenset({"add", "cast", "concat", "expand", "maximum", "minimum", "mul", "neg", "reshape", "slice", "split",
                     "squeeze", "sub", "transpose", "unsqueeze", "where"})


class LargeConstants:
    """Finds the finite constants above a limit that reach values; remembers what it has seen."""

    def __init__(self, limit: float):
        self.limit = limit
        self._found: dict[Value, float | None] = {}

    def reaching(self, value: Value) -> float | None:
        """One of the large constants that a value is made of, or None."""
        pending = [value]
        while pending:
            current = pending[-1]
            below = current.node.inputs if isinstance(current, Result) and current.node.op.name in CARRIES else ()
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
