"""Recurrent layers as ONNX has them: gates in another order, time before the batch, both biases in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.dtypes import bf16, f32, i32, i64
from ....ops.recurrent_scan import GRU, LSTM, RNN, directions
from .table import exporter
from .writer import WrittenNode, number_of

ORDER = {RNN: (0,), GRU: (1, 0, 2), LSTM: (0, 3, 1, 2)}  # of our gates in ONNX: z, r, h; i, o, f, c
PEEPHOLES = (0, 2, 1)  # i, o, f
NAMES = {RNN: "RNN", GRU: "GRU", LSTM: "LSTM"}


class _Layer:
    """A layer as it is written. Its element type is that of the node, or f32 for bf16, which older opsets do not take."""

    def __init__(self, node: WrittenNode, gates: int):
        self.node, self.gates = node, gates
        self.count = directions(node["direction"])
        hidden = node.node.results[1].shape[-1]
        assert isinstance(hidden, int)
        self.hidden = hidden
        self.narrow = node.type.dtype
        self.dtype = f32 if self.narrow == bf16 else self.narrow

    def wide(self, name: str) -> str:
        return name if not name or self.dtype == self.narrow else str(self.node.emit("Cast", name, to=number_of(self.dtype)))

    def ordered(self, name: str, order: Sequence[int]) -> str:
        """Parts of axis 1, of a size of `hidden` each, in another order."""
        if not name or len(order) == 1:
            return name
        places = np.concatenate([np.arange(self.hidden) + i * self.hidden for i in order])
        return str(self.node.emit("Gather", name, self.node.array(places), axis=1))

    def zeros(self, parts: int) -> str:
        return self.node.array(np.zeros((self.count, parts * self.hidden)), self.dtype)

    def biases(self, outer: str, inner: str) -> str:
        """Both biases beside each other."""
        if not outer and not inner:
            return ""
        order = ORDER[self.gates]
        parts = [self.ordered(name, order) if name else self.zeros(self.gates) for name in (outer, inner)]
        return str(self.node.emit("Concat", *parts, axis=1))

    def lengths(self, name: str) -> str:
        """Lengths as i32, within what ONNX Runtime takes."""
        if not name:
            return ""
        node, x = self.node, self.node.operand(0)
        wide = node.emit("Cast", name, to=number_of(i64))
        inside = node.emit("Max", node.emit("Min", wide, node.to.size(x.shape[1])), node.number(0, i64))
        return str(node.emit("Cast", inside, to=number_of(i32)))

    def write(self, x: str, w: str, r: str, bias: str, lengths: str, states: Sequence[str], peephole: str = "",
              **attributes: Any) -> Any:
        """The node, its results as ours: y [B, T, D H] and the last states [D, B, H]."""
        node, order = self.node, ORDER[self.gates]
        found = node.emit(
            NAMES[self.gates], node.emit("Transpose", x, perm=[1, 0, 2]), self.ordered(w, order), self.ordered(r, order), bias,
            self.lengths(lengths), *states, self.ordered(peephole, PEEPHOLES), outputs=len(node.node.results),
            hidden_size=self.hidden, direction=node["direction"], clip=node["clip"], **attributes)
        apart = node.emit("Transpose", found[0], perm=[2, 0, 1, 3])
        results = [node.emit("Reshape", apart, node.sizes(node.type.shape)), *found[1:]]
        if self.dtype == self.narrow:
            return tuple(results)
        return tuple(node.emit("Cast", name, to=number_of(self.narrow)) for name in results)

    def of_projected(self) -> str:
        """Weights that leave an input as it is, which has the gates of all directions: each takes its own."""
        rows = self.gates * self.hidden
        return self.node.array(np.eye(self.count * rows).reshape(self.count, rows, self.count * rows), self.dtype)

    def activations(self) -> dict[str, Any]:
        if self.gates == RNN:
            return {"activations": [self.node["activation"].capitalize()] * self.count}
        return {"linear_before_reset": int(self.node["linear_before_reset"])} if self.gates == GRU else {}


@exporter("rnn")
def rnn(node: WrittenNode, x: str, w: str, r: str, bias: str, inner: str, h: str, lengths: str) -> Any:
    return _plain(_Layer(node, RNN), x, w, r, bias, inner, lengths, [h])


@exporter("gru")
def gru(node: WrittenNode, x: str, w: str, r: str, bias: str, inner: str, h: str, lengths: str) -> Any:
    return _plain(_Layer(node, GRU), x, w, r, bias, inner, lengths, [h])


@exporter("lstm")
def lstm(node: WrittenNode, x: str, w: str, r: str, bias: str, inner: str, h: str, c: str, lengths: str, peephole: str) -> Any:
    return _plain(_Layer(node, LSTM), x, w, r, bias, inner, lengths, [h, c], peephole)


def _plain(layer: _Layer, x: str, w: str, r: str, bias: str, inner: str, lengths: str, states: Sequence[str],
           peephole: str = "") -> Any:
    x, w, r, bias, inner, peephole, *states = map(layer.wide, (x, w, r, bias, inner, peephole, *states))
    return layer.write(x, w, r, layer.biases(bias, inner), lengths, states, peephole, **layer.activations())


@exporter("rnn_scan")
def rnn_scan(node: WrittenNode, x: str, r: str, h: str, lengths: str) -> Any:
    return _scan(_Layer(node, RNN), x, r, "", lengths, [h])


@exporter("gru_scan")
def gru_scan(node: WrittenNode, x: str, r: str, bias: str, h: str, lengths: str) -> Any:
    return _scan(_Layer(node, GRU), x, r, bias, lengths, [h])


@exporter("lstm_scan")
def lstm_scan(node: WrittenNode, x: str, r: str, h: str, c: str, lengths: str, peephole: str) -> Any:
    return _scan(_Layer(node, LSTM), x, r, "", lengths, [h, c], peephole)


def _scan(layer: _Layer, x: str, r: str, bias: str, lengths: str, states: Sequence[str], peephole: str = "") -> Any:
    x, r, bias, peephole, *states = map(layer.wide, (x, r, bias, peephole, *states))
    both = ""
    if bias:  # that of the last gate, which is added to its recurrent product
        both = str(layer.node.emit("Concat", layer.zeros(2 * layer.gates - 1), bias, axis=1))
    return layer.write(x, layer.of_projected(), r, both, lengths, states, peephole, **layer.activations())
