"""Strategies of recurrent layers, and of their weights in panels."""

from __future__ import annotations

from typing import Any

from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import DType
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value
from tgraph.testing.generator.maker import FLOATS, INTEGERS, Maker
from tgraph.testing.generator.written import written

DIRECTIONS = ("forward", "reverse", "bidirectional")
HIDDEN = (1, 3, 8, 17)


class Layer:
    """The operands of a layer of `gates` gates, each optional one there by chance."""

    def __init__(self, m: Maker, gates: int):
        self.m, self.gates, self.dtype, self.hidden = m, gates, m.dtype(FLOATS), m.random.choice(HIDDEN)
        self.direction = m.random.choice(DIRECTIONS)
        self.count = 2 if self.direction == "bidirectional" else 1
        self.batch, self.steps = m.random.choices(m.axes, k=2)

    def tensor(self, *shape: DimLike, largest: float = 1e3) -> Value:
        """Of a usual size: what overflows in a sum, by the order of its terms, leaves no trace behind a gate."""
        return self.m.b.clip(self.m.new(self.m.leaf(TensorType(self.dtype, shape))), min=-largest, max=largest)

    def maybe(self, *shape: DimLike) -> Value | None:
        return self.tensor(*shape) if self.m.chance(0.5) else None

    def state(self) -> Value | None:
        return self.maybe(self.count, self.batch, self.hidden)

    def lengths(self) -> Value | None:
        dtype: DType = self.m.random.choice(INTEGERS)
        return self.m.leaf(TensorType(dtype, (self.batch,))) if self.m.chance(0.5) else None

    @property
    def recurrent(self) -> Value:
        """With large ones errors grow from step to step, and no order of sums is right."""
        return self.tensor(self.count, self.gates * self.hidden, self.hidden, largest=1.0 / self.hidden)

    def projected(self) -> tuple[Value, Value]:
        """The first operands of a recurrence alone."""
        return self.tensor(self.batch, self.steps, self.count * self.gates * self.hidden), self.recurrent

    def inputs(self) -> list[Value | None]:
        """The first operands of a whole layer: input, weights, biases."""
        size, rows = self.m.random.choice((1, 4, 5)), self.gates * self.hidden
        x, w = self.tensor(self.batch, self.steps, size), self.tensor(self.count, rows, size)
        return [x, w, self.recurrent, self.maybe(self.count, rows), self.maybe(self.count, rows)]

    def attributes(self) -> dict[str, Any]:
        return {"direction": self.direction, "clip": self.m.random.choice((None, None, 0.5, 3.0))}


def _activation(m: Maker) -> dict[str, Any]:
    return {"activation": m.random.choice(("tanh", "relu"))}


def _form(m: Maker) -> dict[str, Any]:
    return {"linear_before_reset": m.chance(0.6)}


@written
def rnn(m: Maker) -> Any:
    made = Layer(m, 1)
    return m.b.rnn(*made.inputs(), made.state(), made.lengths(), **made.attributes(), **_activation(m))


@written
def gru(m: Maker) -> Any:
    made = Layer(m, 3)
    return m.b.gru(*made.inputs(), made.state(), made.lengths(), **made.attributes(), **_form(m))


@written
def lstm(m: Maker) -> Any:
    made = Layer(m, 4)
    return m.b.lstm(*made.inputs(), made.state(), made.state(), made.lengths(), made.maybe(made.count, 3 * made.hidden),
                    **made.attributes())


@written
def rnn_scan(m: Maker) -> Any:
    made = Layer(m, 1)
    return m.b.rnn_scan(*made.projected(), made.state(), made.lengths(), **made.attributes(), **_activation(m))


@written
def gru_scan(m: Maker) -> Any:
    made = Layer(m, 3)
    return m.b.gru_scan(*made.projected(), made.maybe(made.count, made.hidden), made.state(), made.lengths(), **made.attributes(),
                        **_form(m))


@written
def lstm_scan(m: Maker) -> Any:
    made = Layer(m, 4)
    return m.b.lstm_scan(*made.projected(), made.state(), made.state(), made.lengths(),
                         made.maybe(made.count, 3 * made.hidden), **made.attributes())


def _panels(m: Maker) -> tuple[Value, int, int]:
    gates, hidden = m.random.choice((1, 3, 4)), m.random.choice(HIDDEN)
    weight = m.new(m.leaf(TensorType(m.dtype(FLOATS), (m.random.choice((1, 2)), gates * hidden, m.random.choice(HIDDEN)))))
    return m.b.pack_gates(weight, gates=gates, width=m.random.choice((1, 2, 4, 16))), gates, hidden


@written
def pack_gates(m: Maker) -> Any:
    return _panels(m)[0]


@written
def unpack_gates(m: Maker) -> Any:
    panels, gates, hidden = _panels(m)
    return m.b.unpack_gates(panels, gates=gates, hidden=hidden)
