"""Recurrent layers: the product of all inputs at once, and then a recurrence over time (`recurrent_scan.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..ir.dims import DimLike
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import require_float, same, same_dtype
from ..ir.types import TensorType
from .numbers import in_f32
from .recurrent_scan import (
    GRU,
    LSTM,
    RNN,
    Clip,
    Direction,
    check_lengths,
    check_state,
    directions,
    gru_scan,
    hidden_size,
    lstm_scan,
    rnn_scan,
)


def _layer(x: TensorType, weight: TensorType, recurrent: TensorType, biases: dict[str, TensorType | None],
           states: dict[str, TensorType | None], lengths: TensorType | None, gates: int,
           direction: str) -> tuple[TensorType, ...]:
    """The results of a layer: y [B, T, D H], and the last of each state [D, B, H]."""
    require_float(x)
    same_dtype(x, weight, recurrent)
    hidden, count = hidden_size(recurrent, gates, direction), directions(direction)
    if x.rank != 3:
        raise RuleError(f"x must be [B, T, I], got {x}")
    if weight.rank != 3:
        raise RuleError(f"weight must be [{count}, {gates * hidden}, I], got {weight}")
    same(weight.shape[0], count, f"weight must be [{count}, {gates * hidden}, I] for direction {direction}")
    same(weight.shape[1], gates * hidden, f"weight must be [{count}, {gates * hidden}, I] for a hidden size of {hidden}")
    same(x.shape[2], weight.shape[2], "the last axis of x must be the last of weight [D, gates H, I]")
    for name, bias in biases.items():
        check_state(bias, name, (count, gates * hidden), x)
    batch = x.shape[0]
    for name, state in states.items():
        check_state(state, name, (count, batch, hidden), x)
    check_lengths(lengths, batch)
    return (x.with_shape((*x.shape[:2], count * hidden)), *(x.with_shape((count, batch, hidden)) for _ in states))


def _projected(b, x, weight, *biases):  # type: ignore[no-untyped-def]
    """The products of all steps at once, [B, T, D gates H]."""
    rows: DimLike = weight.shape[0] * weight.shape[1]
    total = None
    for bias in biases:
        if bias is not None:
            total = bias if total is None else b.add(total, bias)
    flat = b.reshape(weight, shape=(rows, weight.shape[2]))
    return b.linear(x, flat, None if total is None else b.reshape(total, shape=(rows,)))


def _cost(operands: Sequence[TensorType | None], results: Sequence[TensorType], gates: int, each: int) -> DimLike:
    """Products with both weights, and `each` operations for each unit."""
    weight, recurrent = operands[1:3]
    assert weight is not None and recurrent is not None
    work: DimLike = results[0].size * (2 * gates * (weight.shape[2] + recurrent.shape[2]) + each)
    return work


@op(opaque=True, precision="composite")
def rnn(x: TensorType, weight: TensorType, recurrent: TensorType, bias: TensorType | None = None,
        recurrent_bias: TensorType | None = None, h0: TensorType | None = None, lengths: TensorType | None = None, *,
        activation: Literal["tanh", "relu"] = "tanh", direction: Direction = "forward",
        clip: Clip = None) -> tuple[TensorType, TensorType]:
    """A layer of Elman's recurrent network: h_t = f(W x_t + b + R h_{t-1} + rb).

    x [B, T, I], weight W [D, H, I], recurrent R [D, H, H], bias b and recurrent_bias rb [D, H], h0 [D, B, H] (zeros if left
    out); y [B, T, D H], the last h [D, B, H]. D is 1, or 2 for "bidirectional", whose second pass goes from the last step to the
    first. f is tanh or relu; clip bounds what it is applied to. lengths: integers [B]; from step lengths[b] on, y is 0 and h
    stays, and a pass backwards begins at the last step before that. Values outside of 0 .. T count as the nearest of these.
    ONNX RNN; Elman, "Finding structure in time" (doi:10.1207/s15516709cog1402_1).
    """
    biases = {"bias": bias, "recurrent_bias": recurrent_bias}
    y, h = _layer(x, weight, recurrent, biases, {"h0": h0}, lengths, RNN, direction)
    return y, h


@rnn.reference
def _(x, weight, recurrent, bias, recurrent_bias, h0, lengths, **attrs):  # type: ignore[no-untyped-def]
    assert rnn_scan.numpy is not None
    return rnn_scan.numpy(_projections(x, weight, bias, recurrent_bias), recurrent, h0, lengths, **attrs)


def _projections(x, weight, *biases):  # type: ignore[no-untyped-def]
    """The projections of `_projected` in NumPy."""
    y = x @ weight.reshape(-1, weight.shape[2]).T
    for bias in biases:
        y = y if bias is None else y + bias.reshape(-1)
    return y


@rnn.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return _cost(operands, results, RNN, 2)


@rnn.decomposition
@in_f32
def _(b, x, weight, recurrent, bias, recurrent_bias, h0, lengths, **attrs):  # type: ignore[no-untyped-def]
    return b.rnn_scan(_projected(b, x, weight, bias, recurrent_bias), recurrent, h0, lengths, **attrs)


@op(opaque=True, precision="composite")
def gru(x: TensorType, weight: TensorType, recurrent: TensorType, bias: TensorType | None = None,
        recurrent_bias: TensorType | None = None, h0: TensorType | None = None, lengths: TensorType | None = None, *,
        linear_before_reset: bool = True, direction: Direction = "forward", clip: Clip = None) -> tuple[TensorType, TensorType]:
    """A layer of gated recurrent units (arXiv:1406.1078).

    Gates are r, z, n, in this order, as in PyTorch (ONNX has z, r, h): r = sigmoid(W_r x + b_r + R_r h + rb_r),
    z = sigmoid(W_z x + b_z + R_z h + rb_z), n = tanh(W_n x + b_n + r (R_n h + rb_n)), h' = (1 - z) n + z h;
    linear_before_reset=False: n = tanh(W_n x + b_n + R_n (r h) + rb_n), as first published.
    weight W [D, 3 H, I], recurrent R [D, 3 H, H], bias b and recurrent_bias rb [D, 3 H]; all else is as in `rnn`. ONNX GRU.
    """
    biases = {"bias": bias, "recurrent_bias": recurrent_bias}
    y, h = _layer(x, weight, recurrent, biases, {"h0": h0}, lengths, GRU, direction)
    return y, h


@gru.reference
def _(x, weight, recurrent, bias, recurrent_bias, h0, lengths, **attrs):  # type: ignore[no-untyped-def]
    assert gru_scan.numpy is not None
    hidden = recurrent.shape[2]
    inner = None
    if recurrent_bias is not None:
        inner, recurrent_bias = recurrent_bias[:, 2 * hidden:], recurrent_bias.copy()
        recurrent_bias[:, 2 * hidden:] = 0
    return gru_scan.numpy(_projections(x, weight, bias, recurrent_bias), recurrent, inner, h0, lengths, **attrs)


@gru.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return _cost(operands, results, GRU, 13)


@gru.decomposition
@in_f32
def _(b, x, weight, recurrent, bias, recurrent_bias, h0, lengths, **attrs):  # type: ignore[no-untyped-def]
    inner = None
    if recurrent_bias is not None and attrs["linear_before_reset"]:
        hidden = recurrent.shape[2]
        inner = b.slice(recurrent_bias, starts=(2 * hidden,), stops=(3 * hidden,), axes=(1,))
        outer = b.slice(recurrent_bias, starts=(0,), stops=(2 * hidden,), axes=(1,))
        recurrent_bias = b.pad(outer, before=(0, 0), after=(0, hidden), value=0.0)
    return b.gru_scan(_projected(b, x, weight, bias, recurrent_bias), recurrent, inner, h0, lengths, **attrs)


@op(opaque=True, precision="composite")
def lstm(x: TensorType, weight: TensorType, recurrent: TensorType, bias: TensorType | None = None,
         recurrent_bias: TensorType | None = None, h0: TensorType | None = None, c0: TensorType | None = None,
         lengths: TensorType | None = None, peephole: TensorType | None = None, *, direction: Direction = "forward",
         clip: Clip = None) -> tuple[TensorType, TensorType, TensorType]:
    """A layer of long short-term memory (doi:10.1162/neco.1997.9.8.1735).

    Gates are i, f, g, o, in this order, as in PyTorch (ONNX has i, o, f, c): i, f, o = sigmoid(W x + b + R h + rb),
    g = tanh(W_g x + b_g + R_g h + rb_g), c' = f c + i g, h' = o tanh(c').
    weight W [D, 4 H, I], recurrent R [D, 4 H, H], bias b and recurrent_bias rb [D, 4 H], c0 [D, B, H]; y [B, T, D H], the last
    h, and the last c [D, B, H]. peephole [D, 3 H]: p_i c, p_f c and p_o c' are added to what the sigmoids of i, f and o take
    (doi:10.1162/153244303768966139). All else is as in `rnn`. ONNX LSTM.
    """
    biases = {"bias": bias, "recurrent_bias": recurrent_bias}
    y, h, c = _layer(x, weight, recurrent, biases, {"h0": h0, "c0": c0}, lengths, LSTM, direction)
    check_state(peephole, "peephole", (recurrent.shape[0], 3 * recurrent.shape[2]), x)
    return y, h, c


@lstm.reference
def _(x, weight, recurrent, bias, recurrent_bias, h0, c0, lengths, peephole, **attrs):  # type: ignore[no-untyped-def]
    assert lstm_scan.numpy is not None
    return lstm_scan.numpy(_projections(x, weight, bias, recurrent_bias), recurrent, h0, c0, lengths, peephole, **attrs)


@lstm.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return _cost(operands, results, LSTM, 18)


@lstm.decomposition
@in_f32
def _(b, x, weight, recurrent, bias, recurrent_bias, h0, c0, lengths, peephole, **attrs):  # type: ignore[no-untyped-def]
    projected = _projected(b, x, weight, bias, recurrent_bias)
    return b.lstm_scan(projected, recurrent, h0, c0, lengths, peephole, **attrs)
