"""Recurrences over time, as kernels of all targets see them: operands by index, and what a step makes of its products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, int64, tirx
from targets.codegen.access import as_index
from targets.codegen.anchor import accumulator_dtype, only_node
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast, scalar
from targets.codegen.vector_math import constant, let
from tgraph.ir.cached import cached_property
from tgraph.ir.values import Node, Result, Value
from tgraph.ops.recurrent_scan import directions

HIDDEN, CELL, GATED, UPDATE = "hidden", "cell", "gated", "update"


@dataclass(frozen=True)
class Phase:
    """Gates of a step whose products need nothing of each other, and the memory that they multiply the weights with."""

    gates: tuple[int, ...]
    source: str = HIDDEN


@dataclass(frozen=True)
class Unit:
    """One unit of one row at one step, where its results are computed.

    total(gate): its product; x(gate): its projected input; added(name, position): its element of a bias or peephole, None if the
    layer has none; read(name), write(name, value): its place in a memory.
    """

    total: Callable[[int], Expr]
    x: Callable[[int], Expr]
    added: Callable[[str, int], Expr | None]
    read: Callable[[str], Expr]
    write: Callable[[str, Expr], None]


@dataclass(frozen=True)
class Recurrence:
    """The operands and results of a recurrence that is a kernel's anchor.

    A memory has a number for each unit of each row: that of HIDDEN is the output, and is needed twice, before and after a step.
    `states` are those that begin with an operand and end in a result.
    """

    builder: KernelBuilder
    node: Node

    @classmethod
    def of(cls, builder: KernelBuilder) -> Recurrence:
        """The recurrence of a kernel. Raises CompileError if it has none."""
        return cls(builder, only_node(builder, "a recurrence", lambda op: op.traits.recurrence is not None))

    @cached_property
    def _operands(self) -> Mapping[str, Value | None]:
        return {o.name: value for o, value in zip(self.node.op.operands, self.node.operands)}

    @property
    def gates(self) -> int:
        assert self.node.op.traits.recurrence is not None
        return self.node.op.traits.recurrence

    @property
    def weight(self) -> Value:
        return self.node.inputs[1]

    @property
    def panels(self) -> Buffer | None:
        """The recurrent weights in panels of `pack_gates`; None if they are not packed."""
        weight = self.weight
        if isinstance(weight, Result) and weight.node.op.traits.view == "layout":
            return self.builder.access.buffers.get(weight.node.inputs[0])
        return None

    @property
    def columns(self) -> int:
        """The columns of a panel."""
        assert isinstance(self.weight, Result)
        columns = self.weight.node.inputs[0].shape[-1]
        assert isinstance(columns, int)
        return columns

    @property
    def hidden(self) -> int:
        hidden = self.weight.shape[2]
        assert isinstance(hidden, int)
        return hidden

    @property
    def directions(self) -> int:
        return directions(self.node.attrs["direction"])

    @property
    def dtype(self) -> str:
        return accumulator_dtype(self.node.inputs[0])

    @property
    def batch(self) -> Expr:
        return self.builder.size(self.node.inputs[0].shape[0])

    @property
    def length(self) -> Expr:
        return self.builder.size(self.node.inputs[0].shape[1])

    @cached_property
    def states(self) -> dict[str, tuple[Value | None, str | None]]:
        """The operand that each state begins with, and the name of the output that it ends in; None where there is none."""
        names = {value: name for name, value in self.builder.function.outputs}
        first = {HIDDEN: "h0", CELL: "c0"}
        lasts = self.node.results[1:]
        return {state: (self._operands.get(first[state]), names.get(last)) for state, last in zip((HIDDEN, CELL), lasts)}

    @cached_property
    def output(self) -> str | None:
        """The name of the output y; None if nobody reads it."""
        return next((name for name, value in self.builder.function.outputs if value is self.node.results[0]), None)

    @property
    def phases(self) -> Sequence[Phase]:
        """The phases of a step: one, or two if the gates of the first go into the product of the second."""
        if self.node.attrs.get("linear_before_reset", True):
            return [Phase(tuple(range(self.gates)))]
        return [Phase((0, 1)), Phase((2,), GATED)]

    @property
    def memories(self) -> list[str]:
        """The memories besides HIDDEN."""
        return [*[s for s in self.states if s != HIDDEN], *([GATED, UPDATE] if len(self.phases) > 1 else [])]

    # Elements

    def backwards(self, direction: Expr) -> Expr:
        """Whether a direction goes from the last step to the first."""
        if self.directions == 1:
            return tirx.const(self.node.attrs["direction"] == "reverse", "bool")
        return direction == int64(1)

    def end(self, row: Expr) -> Expr:
        """The number of steps of a row."""
        lengths = self._operands["lengths"]
        if lengths is None:
            return self.length
        given = as_index(self.builder.access.load(lengths, ((lengths.shape[0], row),)))
        return tirx.Max(int64(0), tirx.Min(given, self.length))

    @property
    def has_lengths(self) -> bool:
        return self._operands["lengths"] is not None

    def load_weight(self, direction: Expr, row: Expr, k: Expr) -> Expr:
        """An element of the recurrent weights."""
        d, rows, depth = self.weight.shape
        return cast(self.builder.access.load(self.weight, ((d, direction), (rows, row), (depth, k))), self.dtype)

    def load_x(self, direction: Expr, row: Expr, step: Expr, gate: int, unit: Expr) -> Expr:
        """The projected input of a gate."""
        x = self.node.inputs[0]
        batch, length, width = x.shape
        column = direction * int64(self.gates * self.hidden) + (int64(gate * self.hidden) + unit)
        return cast(self.builder.access.load(x, ((batch, row), (length, step), (width, column))), self.dtype)

    def load_added(self, direction: Expr, name: str, position: int, unit: Expr) -> Expr | None:
        """The unit's element of part `position` of an operand [D, parts H]; None if there is no such operand."""
        value = self._operands.get(name)
        if value is None:
            return None
        d, width = value.shape
        at = ((d, direction), (width, int64(position * self.hidden) + unit))
        return cast(self.builder.access.load(value, at), self.dtype)

    def load_first(self, state: str, direction: Expr, row: Expr, unit: Expr) -> Expr:
        """A state before the first step."""
        value = self.states[state][0] if state in self.states else None
        if value is None:
            return constant(0.0, self.dtype)
        d, batch, hidden = value.shape
        return cast(self.builder.access.load(value, ((d, direction), (batch, row), (hidden, unit))), self.dtype)

    def store_last(self, state: str, direction: Expr, row: Expr, unit: Expr, value: Expr) -> None:
        """Store a state after the last step, if anybody reads it."""
        name, batch = self.states[state][1], self.node.inputs[0].shape[0]
        if name is not None:
            held = self.builder.narrow(value, name)
            self.builder.write(name, ((self.directions, direction), (batch, row), (self.hidden, unit)), held)

    def store_output(self, direction: Expr, row: Expr, step: Expr, unit: Expr, value: Expr) -> None:
        """Store an element of y, if anybody reads it."""
        batch, length, _ = self.node.inputs[0].shape
        if self.output is not None:
            column = (self.directions * self.hidden, direction * int64(self.hidden) + unit)
            held = self.builder.narrow(value, self.output)
            self.builder.write(self.output, ((batch, row), (length, step), column), held)

    # The formulas

    def finish(self, phase: int, unit: Unit) -> None:
        """Write what a phase makes of its products: new states, or what the next phase multiplies."""
        _FORMULAS[self.node.op.name](self, phase, unit)

    def clipped(self, x: Expr) -> Expr:
        bound = self.node.attrs["clip"]
        return x if bound is None else scalar("clip", x, min=-bound, max=bound)


def _rnn(cell: Recurrence, phase: int, unit: Unit) -> None:
    unit.write(HIDDEN, scalar(cell.node.attrs["activation"], cell.clipped(unit.total(0) + unit.x(0))))


def _lstm(cell: Recurrence, phase: int, unit: Unit) -> None:
    def gate(number: int, position: int, state: Expr) -> Expr:
        total, peephole = unit.total(number) + unit.x(number), unit.added("peephole", position)
        return scalar("sigmoid", cell.clipped(total if peephole is None else total + peephole * state))

    def outputs(state: Expr) -> None:
        unit.write(CELL, state)
        unit.write(HIDDEN, gate(3, 2, state) * scalar("tanh", state))

    old = unit.read(CELL)
    candidate = scalar("tanh", cell.clipped(unit.total(2) + unit.x(2)))
    let(gate(1, 1, old) * old + gate(0, 0, old) * candidate, outputs)


def _gru(cell: Recurrence, phase: int, unit: Unit) -> None:
    def sigmoid(number: int) -> Expr:
        return scalar("sigmoid", cell.clipped(unit.total(number) + unit.x(number)))

    def blend(new: Expr, update: Expr) -> None:
        unit.write(HIDDEN, new + update * (unit.read(HIDDEN) - new))

    def inner() -> Expr:
        bias = unit.added("bias", 0)
        return unit.total(2) if bias is None else unit.total(2) + bias

    if len(cell.phases) == 1:
        new = scalar("tanh", cell.clipped(unit.x(2) + sigmoid(0) * inner()))
        let(new, lambda new: blend(new, sigmoid(1)))
    elif phase == 0:
        unit.write(GATED, sigmoid(0) * unit.read(HIDDEN))
        unit.write(UPDATE, sigmoid(1))
    else:
        let(scalar("tanh", cell.clipped(unit.x(2) + inner())), lambda new: blend(new, unit.read(UPDATE)))


_FORMULAS: dict[str, Callable[[Recurrence, int, Unit], None]] = {"rnn_scan": _rnn, "gru_scan": _gru, "lstm_scan": _lstm}
