"""The trace in progress: `apply` hands every op that a model applies to its tracer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Protocol

from .ir.dims import DimLike
from .ir.errors import TraceError
from .ir.location import Provenance
from .ir.registry import Op, get_op


class TracerLike(Protocol):
    """What records a model while it is traced; `tgraph.trace.Tracer` makes a graph of it."""

    def apply(self, op: Op, operands: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Record one application of an op. Returns its result, or a tuple of results."""

    def build(self, name: str, function: Callable[..., Any], operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Record what a function of a builder, values and attributes adds, as `name` in errors. Returns its result."""

    def apply_once(self, op: Op, operand: Any, **attrs: Any) -> Any:
        """The first result of an op of one operand; that of an equal application, if there is one already."""

    def scope(self, module: Any) -> AbstractContextManager[None]:
        """Ops applied inside belong to `module`."""

    def provenance(self) -> Provenance | None:
        """The scope and the user's line at this moment; None if neither is recorded."""

    def constrain(self, left: DimLike, right: DimLike) -> None:
        """Require left == right at run time. Raises RuleError if they always differ."""

    def read_state(self, state: Any) -> Any:
        """What a state holds at this point."""

    def write_state(self, state: Any, tensor: Any) -> None:
        """Make a state hold a tensor from here on."""

    def fresh_dim(self, name: str) -> str:
        """A name for a dim that the graph does not have yet: `name`, or with a number."""


current_tracer: ContextVar[TracerLike | None] = ContextVar("tgraph_tracer", default=None)


def apply(op: str | Op, /, *operands: Any, **named: Any) -> Any:
    """Apply an op to tensors, parameters, NumPy arrays and Python numbers. Raises OpError, or TraceError outside a trace."""
    op = get_op(op) if isinstance(op, str) else op
    return _tracer(op.name).apply(op, operands, named)


def build(name: str, function: Callable[..., Any], /, *operands: Any, **attributes: Any) -> Any:
    """Add what a function builds of tensors, such as an op's decomposition: `function(builder, *values, **attributes)`.

    Raises OpError that names it `name`, or TraceError outside a trace.
    """
    return _tracer(name).build(name, function, operands, attributes)


def _tracer(name: str) -> TracerLike:
    tracer = current_tracer.get()
    if tracer is None:
        raise TraceError(f"{name}() builds a graph, so it can only be called by a function that tg.trace is tracing")
    return tracer
