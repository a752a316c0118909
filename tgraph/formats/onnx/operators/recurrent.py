"""Recurrent layers. ONNX has its gates in another order than PyTorch, and time before the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t

LSTM_GATES, LSTM_PEEPHOLES, GRU_GATES = (0, 2, 3, 1), (0, 2, 1), (1, 0, 2)  # of ONNX's i, o, f, c; i, o, f; z, r, h
_LIMITS = "activations {}"


@importer("RNN", limits=_LIMITS.format("Tanh or Relu, the same in both directions"))
def rnn(node: OnnxNode, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> Any:
    names = {str(a).lower() for a in node.attribute("activations", None) or ["Tanh"]}
    if len(names) > 1 or not names <= {"tanh", "relu"}:
        _refuse(node, "Tanh or Relu, the same in both directions")
    return _layer(node, "rnn", x, w, r, b, lengths, {"h0": h}, (0,), activation=names.pop())


@importer("GRU", limits=_LIMITS.format("Sigmoid and Tanh"))
def gru(node: OnnxNode, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> Any:
    _require_activations(node, ("Sigmoid", "Tanh"))
    before = bool(node.attribute("linear_before_reset", 0))
    return _layer(node, "gru", x, w, r, b, lengths, {"h0": h}, GRU_GATES, linear_before_reset=before)


@importer("LSTM", limits=_LIMITS.format("Sigmoid, Tanh and Tanh; no input_forget"))
def lstm(node: OnnxNode, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None,
         p: Any = None) -> Any:
    _require_activations(node, ("Sigmoid", "Tanh", "Tanh"))
    if node.attribute("input_forget", 0):
        raise UnsupportedError("couples the input gate to the forget gate, which tgraph's op lstm does not; export it without "
                               "input_forget")
    peephole = {} if p is None else {"peephole": _ordered(p, LSTM_PEEPHOLES)}
    return _layer(node, "lstm", x, w, r, b, lengths, {"h0": h, "c0": c}, LSTM_GATES, **peephole)


def _require_activations(node: OnnxNode, names: Sequence[str]) -> None:
    given = [str(a).lower() for a in node.attribute("activations", None) or []]
    if given not in ([], [n.lower() for n in names], [n.lower() for n in names] * 2):
        _refuse(node, ", ".join(names))


def _refuse(node: OnnxNode, wanted: str) -> None:
    raise UnsupportedError(f"has the activations {', '.join(map(str, node.attribute('activations')))}; tgraph has {wanted}")


def _ordered(x: Any, order: Sequence[int]) -> Any:
    """Parts of axis 1 in another order."""
    if len(order) == 1:
        return x
    parts = t.split(x, sizes=len(order), axis=1)
    return t.concat([parts[i] for i in order], axis=1)


def _layer(node: OnnxNode, op: str, x: Any, w: Any, r: Any, b: Any, lengths: Any, states: dict[str, Any], order: Sequence[int],
           **named: Any) -> Any:
    """The op on what ONNX gives, and its results as ONNX wants them."""
    batch_first = bool(node.attribute("layout", 0))
    moved = (lambda v: v) if batch_first else (lambda v: t.transpose(v, perm=(1, 0, 2)))
    first = (lambda v: t.transpose(v, perm=(1, 0, 2))) if batch_first else (lambda v: v)
    named |= {name: first(s) for name, s in states.items() if s is not None}
    if b is not None:
        outer, inner = t.split(b, sizes=2, axis=1)
        named |= {"bias": _ordered(outer, order), "recurrent_bias": _ordered(inner, order)}
    if lengths is not None:
        named["lengths"] = lengths
    clip = node.attribute("clip", 0.0)
    y, *last = getattr(t, op)(moved(x), _ordered(w, order), _ordered(r, order), direction=node.attribute("direction", "forward"),
                              clip=clip or None, **named)
    batch, length, _ = y.shape
    hidden = r.shape[2]
    apart = t.reshape(y, shape=(batch, length, w.shape[0], hidden))
    whole = apart if batch_first else t.transpose(apart, perm=(1, 2, 0, 3))
    return (whole, *(first(s) for s in last))[:max(node.results, 1)]
