"""Recurrent layers over sequences, with the parameters and the results of PyTorch's."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..current_tracer import apply
from ..ir.dtypes import DType, f32, i64
from ..ir.weights import Initializer
from ..module import Module
from ..tensor import Parameter, Tensor
from ..user_code import model_error


def uniform(bound: float) -> Initializer:
    """Initial values from -bound to bound, all equally likely."""
    return lambda generator, shape: generator.uniform(-bound, bound, shape).astype(np.float32)


class Recurrent(Module):
    """Layers of a recurrence, one after the other, each in one direction or in both.

    Parameters are those of PyTorch's layers: `weight_ih_l0` [gates H, I], `weight_hh_l0` [gates H, H], `bias_ih_l0` and
    `bias_hh_l0` [gates H] for the first layer, the same with `_reverse` at the end for the pass from the last step to the first,
    `l1` for the next layer, whose input is what both directions of the one before give.
    """

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    direction: str
    suffixes: tuple[str, ...]
    options: dict[str, Any]

    op: ClassVar[str] = ""
    gates: ClassVar[int] = 1
    states: ClassVar[tuple[str, ...]] = ("h0",)

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, *, bidirectional: bool = False,
                 batch_first: bool = True, dtype: DType = f32):
        if min(input_size, hidden_size, num_layers) < 1:
            given = f"{type(self).__name__}({input_size}, {hidden_size}, num_layers={num_layers})"
            raise model_error(f"{given}: sizes are at least 1")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first = bias, batch_first
        self.direction = "bidirectional" if bidirectional else "forward"
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        self.options = {}
        rows, width = self.gates * hidden_size, input_size
        for layer in range(num_layers):
            for suffix in self.suffixes:
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
                for name, shape in shapes.items():
                    setattr(self, f"{name}_l{layer}{suffix}", Parameter(dtype[shape], uniform(hidden_size**-0.5)))
            width = hidden_size * len(self.suffixes)

    def __call__(self, x: Tensor, state: Any = None, *, mask: Tensor | None = None,
                 lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """x [B, T, I] to the outputs of the last layer [B, T, D H], and the last state of all layers [layers D, B, H].

        state: the state before the first step (default: zeros). Where sequences differ in length, lengths [B] says where they
        end, or mask [B, T], True for the steps of a sequence, which come before the padding: outputs behind the end are 0, and
        the last state is that at the end.
        """
        if mask is not None and lengths is not None:
            raise model_error(f"{type(self).__name__} takes a mask or lengths, not both")
        if mask is not None:
            lengths = apply("reduce_sum", apply("cast", mask, dtype=i64), axes=(-1,))
        given = self._given(state)
        y = x if self.batch_first else apply("transpose", x, perm=(1, 0, 2))
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            y, *states = self._layer(layer, y, given, lengths)
            last.append(states)
        found = tuple(parts[0] if len(parts) == 1 else apply("concat", *parts, axis=0) for parts in zip(*last))
        return y if self.batch_first else apply("transpose", y, perm=(1, 0, 2)), found if len(found) > 1 else found[0]

    def _given(self, state: Any) -> dict[str, Tensor]:
        """The states before the first step, by their names as operands."""
        if state is None:
            return {}
        parts = tuple(state) if isinstance(state, (tuple, list)) else (state,)
        if len(parts) != len(self.states):
            wanted = " and ".join(name[0] for name in self.states)
            raise model_error(f"the state of {type(self).__name__} is {wanted}, got {len(parts)} tensors")
        return dict(zip(self.states, parts))

    def _layer(self, layer: int, x: Tensor, states: dict[str, Tensor], lengths: Tensor | None) -> tuple[Tensor, ...]:
        def stacked(name: str) -> Tensor:
            parts = [apply("unsqueeze", getattr(self, f"{name}_l{layer}{s}"), axes=(0,)) for s in self.suffixes]
            return parts[0] if len(parts) == 1 else apply("concat", *parts, axis=0)

        count = len(self.suffixes)
        rows = {"starts": (layer * count,), "stops": ((layer + 1) * count,), "axes": (0,)}
        own = {name: s if self.num_layers == 1 else apply("slice", s, **rows) for name, s in states.items()}
        biases = {"bias": stacked("bias_ih"), "recurrent_bias": stacked("bias_hh")} if self.bias else {}
        results: tuple[Tensor, ...] = apply(self.op, x, stacked("weight_ih"), stacked("weight_hh"), **biases, **own,
                                            lengths=lengths, direction=self.direction, **self.options)
        return results


class RNN(Recurrent):
    """Elman's recurrent network, the op `rnn`: h' = f(W x + b + R h + rb), f = tanh or relu."""

    op: ClassVar[str] = "rnn"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, *, nonlinearity: str = "tanh",
                 **options: Any):
        super().__init__(input_size, hidden_size, num_layers, bias, **options)
        self.options: dict[str, Any] = {"activation": nonlinearity}


class GRU(Recurrent):
    """Gated recurrent units, the op `gru`; gates r, z, n."""

    op: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3


class LSTM(Recurrent):
    """Long short-term memory, the op `lstm`; gates i, f, g, o. The state is a pair (h, c)."""

    op: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
    states: ClassVar[tuple[str, ...]] = ("h0", "c0")


class RecurrentCell(Module):
    """One step of a recurrence, with PyTorch's parameters: `weight_ih` [gates H, I], `weight_hh` [gates H, H], `bias_ih` and
    `bias_hh` [gates H]."""

    hidden_size: int
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    gates: ClassVar[int] = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: DType = f32):
        rows, initial = self.gates * hidden_size, uniform(hidden_size**-0.5)
        self.hidden_size = hidden_size
        self.weight_ih, self.weight_hh = Parameter(dtype[rows, input_size], initial), Parameter(dtype[rows, hidden_size], initial)
        self.bias_ih, self.bias_hh = (Parameter(dtype[rows], initial) if bias else None for _ in range(2))

    def _zeros(self, x: Tensor) -> Tensor:
        """A state before the first step."""
        return apply("full", value=0.0, shape=(*x.shape[:-1], self.hidden_size), dtype=x.dtype)

    def _products(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return apply("linear", x, self.weight_ih, self.bias_ih), apply("linear", h, self.weight_hh, self.bias_hh)

    def _gates(self, x: Tensor) -> tuple[Tensor, ...]:
        made: tuple[Tensor, ...] = apply("split", x, sizes=(self.hidden_size,) * self.gates, axis=-1)
        return made


class RNNCell(RecurrentCell):
    """One step of `RNN`."""

    nonlinearity: str

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, nonlinearity: str = "tanh", dtype: DType = f32):
        super().__init__(input_size, hidden_size, bias, dtype=dtype)
        if nonlinearity not in ("tanh", "relu"):
            raise model_error(f"nonlinearity is tanh or relu, not {nonlinearity!r}")
        self.nonlinearity = nonlinearity

    def __call__(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """x [B, I], state h [B, H] (default: zeros) to the next state."""
        outer, inner = self._products(x, self._zeros(x) if h is None else h)
        return apply(self.nonlinearity, outer + inner)


class GRUCell(RecurrentCell):
    """One step of `GRU`."""

    gates: ClassVar[int] = 3

    def __call__(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """x [B, I], state h [B, H] (default: zeros) to the next state."""
        h = self._zeros(x) if h is None else h
        (outer_r, outer_z, outer_n), (inner_r, inner_z, inner_n) = (self._gates(p) for p in self._products(x, h))
        reset, update = apply("sigmoid", outer_r + inner_r), apply("sigmoid", outer_z + inner_z)
        new = apply("tanh", outer_n + reset * inner_n)
        return new + update * (h - new)


class LSTMCell(RecurrentCell):
    """One step of `LSTM`."""

    gates: ClassVar[int] = 4

    def __call__(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """x [B, I], state (h, c), each [B, H] (default: zeros), to the next state."""
        h, c = (self._zeros(x), self._zeros(x)) if state is None else state
        outer, inner = self._products(x, h)
        i, f, g, o = self._gates(outer + inner)
        c = apply("sigmoid", f) * c + apply("sigmoid", i) * apply("tanh", g)
        return apply("sigmoid", o) * apply("tanh", c), c
