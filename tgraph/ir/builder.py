"""Adding nodes to a graph by op: `b.softmax(x, axis=-1)`. Decompositions and passes are written with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .dtypes import DType, bool_, f32, i64
from .errors import RuleError, TGraphError
from .graph import Graph
from .location import NOWHERE, Provenance
from .registry import OPS, Op, get_op
from .values import Node, Result, Value


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
            if not op.variadic and op.attributes and len(operands) > len(op.operands):
                raise RuleError(f"{op.name} takes {len(op.operands)} operands, got {len(operands)}; "
                                f"attributes are given by name: {', '.join(op.attributes)}")
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


class RecordingBuilder(Builder):
    """A builder that keeps the nodes that it made."""

    def __init__(self, graph: Graph, provenance: Provenance = NOWHERE):
        super().__init__(graph, provenance)
        self.nodes: list[Node] = []

    def apply(self, op: Op, operands: Sequence[Any], named: Mapping[str, Any]) -> Any:
        made = super().apply(op, operands, named)
        first = made[0] if isinstance(made, tuple) else made
        assert isinstance(first, Result)
        self.nodes.append(first.node)
        return made


def take_apart(b: Builder, node: Node, decomposition: Callable[..., Any]) -> tuple[Value, ...]:
    """The values that a decomposition of an op has for the results of a node. Raises RuleError that names the op."""
    try:
        made = decomposition(b, *node.operands, **node.attrs)
    except Exception as error:  # a user's function may raise anything
        what = str(error) if isinstance(error, TGraphError) else f"{type(error).__name__}: {error}"
        raise RuleError(f"the decomposition of {node.op.name} failed: {what}") from error
    results = made if isinstance(made, tuple) else (made,)
    if len(results) != len(node.results) or not all(isinstance(v, Value) for v in results):
        given = ", ".join(type(v).__name__ for v in results)
        raise RuleError(f"the decomposition of {node.op.name} must give {len(node.results)} value(s) of the graph, not {given}")
    return results


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
