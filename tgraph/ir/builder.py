"""Adding nodes to a graph by op: `b.softmax(x, axis=-1)`. Decompositions and passes are written with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .dtypes import DType, bool_, f32, i64
from .errors import RuleError
from .graph import Graph
from .location import NOWHERE, Provenance
from .registry import OPS, Op, get_op
from .values import Value


class Builder:
    """Adds nodes to `graph`, all with the same provenance. Every op is a method.

    Operands are Values, NumPy arrays (they become constants) or Python scalars, which take the element type of the
    first tensor operand that can hold them.
    """

    def __init__(self, graph: Graph, provenance: Provenance = NOWHERE):
        self.graph = graph
        self.provenance = provenance

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        op = OPS.get(name) or get_op(name)

        def apply(*operands: Any, **named: Any) -> Any:
            return self.apply(op, operands, named)

        return apply

    def apply(self, op: Op, operands: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """Add one node; `named` holds attributes and operands given by name. Returns its result or tuple of results."""
        names = {o.name for o in op.operands}
        given = {k: v for k, v in named.items() if k in names}
        attrs = {k: v for k, v in named.items() if k not in names}
        bound = adapt_operands(op.bind_operands(operands, given), self.graph)
        return self.graph.insert(op, bound, attrs, self.provenance)

    def constant(self, data: Any, dtype: DType | None = None) -> Value:
        """A constant; `data` is anything NumPy takes."""
        return self.graph.constant(data, dtype)


def adapt_operands(operands: Sequence[Any], graph: Graph) -> list[Value | None]:
    """Turn Python scalars and NumPy arrays among operands into constants of `graph`."""
    types = [v.dtype for v in operands if isinstance(v, Value)]
    return [v if v is None or isinstance(v, Value) else graph.constant(v, scalar_dtype(v, types)) for v in operands]


def scalar_dtype(value: Any, types: Sequence[DType]) -> DType | None:
    """The element type that a Python scalar takes beside tensors of `types`; None for an array, which has its own.

    A float takes the first floating type (f32 if there is none), an int the first numeric one (else i64).
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return None
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return next((t for t in types if not t.is_bool), i64)
    if isinstance(value, float):
        return next((t for t in types if t.is_float), f32)
    raise RuleError(f"expected a tensor, a NumPy array or a Python number, got {type(value).__name__} ({value!r})")
