"""Recurrences over time on inputs that have been projected already: what is left of `rnn`, `gru` and `lstm` without the product
of the input, which needs no step of time to end before another begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np

from ..ir.attributes import AtLeast
from ..ir.dims import DimLike
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import require_float, require_integer, same, same_dtype
from ..ir.types import TensorType

Direction = Literal["forward", "reverse", "bidirectional"]
Clip = Annotated[float, AtLeast(0)] | None
RNN, GRU, LSTM = 1, 3, 4  # gates of a unit


def directions(direction: str) -> int:
    """How many passes over the sequence a direction means."""
    return 2 if direction == "bidirectional" else 1


def hidden_size(recurrent: TensorType, gates: int, direction: str, what: str = "recurrent") -> int:
    """The hidden size H of recurrent weights [D, gates H, H]. Raises RuleError for another shape."""
    count, wanted = directions(direction), f"{what} must be [{directions(direction)}, {gates if gates > 1 else ''}H, H]"
    if recurrent.rank != 3:
        raise RuleError(f"{wanted}, got {recurrent}")
    d, rows, hidden = recurrent.shape
    if not isinstance(hidden, int) or hidden < 1:
        raise RuleError(f"{wanted} with a hidden size H that is known and at least 1, got {recurrent}")
    same(d, count, f"{wanted} for direction {direction}")
    same(rows, gates * hidden, f"{wanted}")
    return hidden


def check_state(state: TensorType | None, name: str, shape: tuple[DimLike, ...], like: TensorType) -> None:
    """Raises RuleError for an optional operand of another shape or element type."""
    if state is None:
        return
    same_dtype(like, state)
    if state.rank != len(shape):
        raise RuleError(f"{name} must be [{', '.join(map(str, shape))}], got {state}")
    for size, wanted in zip(state.shape, shape):
        same(wanted, size, f"{name} must be [{', '.join(map(str, shape))}], got {state}")


def check_lengths(lengths: TensorType | None, batch: DimLike) -> None:
    """Raises RuleError for lengths that are not integers [B]."""
    if lengths is None:
        return
    require_integer(lengths, "lengths")
    if lengths.rank != 1:
        raise RuleError(f"lengths must be [B], got {lengths}")
    same(batch, lengths.shape[0], "lengths must have the batch size of x")


def _scanned(x: TensorType, recurrent: TensorType, states: dict[str, TensorType | None], lengths: TensorType | None, gates: int,
             direction: str) -> tuple[TensorType, ...]:
    """The results of a recurrence: y [B, T, D H], and the last of each state [D, B, H]."""
    require_float(x)
    same_dtype(x, recurrent)
    hidden, count = hidden_size(recurrent, gates, direction), directions(direction)
    if x.rank != 3:
        raise RuleError(f"x must be [B, T, {count * gates * hidden}], got {x}")
    batch, steps, width = x.shape
    same(width, count * gates * hidden, f"the last axis of x must have {gates} gates of {hidden} units in {count} direction(s)")
    for name, state in states.items():
        check_state(state, name, (count, batch, hidden), x)
    check_lengths(lengths, batch)
    return (x.with_shape((batch, steps, count * hidden)), *(x.with_shape((count, batch, hidden)) for _ in states))


Step = Callable[..., Sequence[np.ndarray]]  # direction, x of one step, states -> states, the first of which is the output


def _scan(x: np.ndarray, recurrent: np.ndarray, states: Sequence[np.ndarray | None], lengths: np.ndarray | None, direction: str,
          step: Step) -> tuple[np.ndarray, ...]:
    """`step` applied at every place within a sequence's length, in each direction."""
    batch, length, width = x.shape
    count, _, hidden = recurrent.shape
    ends = np.full(batch, length) if lengths is None else np.clip(lengths, 0, length)
    y = np.zeros((batch, length, count * hidden), x.dtype)
    last = [np.zeros((count, batch, hidden), x.dtype) if s is None else s.copy() for s in states]
    rows = np.arange(batch)
    for d in range(count):
        backwards = direction == "reverse" or d == 1
        for s in range(length):
            active = rows[s < ends]
            places = ends[active] - 1 - s if backwards else np.full(len(active), s)
            part = x[active, places, d * (width // count):(d + 1) * (width // count)]
            new = step(d, part, *(state[d, active] for state in last))
            for state, value in zip(last, new):
                state[d, active] = value
            y[active, places, d * hidden:(d + 1) * hidden] = new[0]
    return (y, *last)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _clipped(x: np.ndarray, clip: float | None) -> np.ndarray:
    return x if clip is None else np.clip(x, -clip, clip)


def _cost(operands: Sequence[TensorType | None], results: Sequence[TensorType], each: int) -> DimLike:
    """Products with the recurrent weights, and `each` operations for each unit."""
    recurrent = operands[1]
    assert recurrent is not None
    work: DimLike = results[0].size * (2 * recurrent.shape[1] + each)
    return work


@op(opaque=True, recurrence=RNN)
def rnn_scan(x: TensorType, recurrent: TensorType, h0: TensorType | None = None, lengths: TensorType | None = None, *,
             activation: Literal["tanh", "relu"] = "tanh", direction: Direction = "forward",
             clip: Clip = None) -> tuple[TensorType, TensorType]:
    """Elman's recurrence on projected inputs: h_t = f(x_t + R h_{t-1}).

    x [B, T, D H], recurrent R [D, H, H], h0 [D, B, H] (zeros if left out); y [B, T, D H], the last h [D, B, H]. D is 1, or 2 for
    "bidirectional": the second half of x and y, and the second of the other tensors, is a pass from the last step to the first.
    f is tanh or relu. clip bounds what f is applied to. lengths: integers [B]; from step lengths[b] on, y is 0 and h stays, and a
    pass backwards begins at the last step before that; values outside of 0 .. T count as the nearest of these. Sums of half
    precisions, and the state, are kept in f32. Elman, "Finding structure in time" (doi:10.1207/s15516709cog1402_1).
    """
    y, h = _scanned(x, recurrent, {"h0": h0}, lengths, RNN, direction)
    return y, h


@rnn_scan.reference
def _(x, recurrent, h0, lengths, *, activation, direction, clip):  # type: ignore[no-untyped-def]
    f = np.tanh if activation == "tanh" else lambda v: np.maximum(v, 0)
    return _scan(x, recurrent, [h0], lengths, direction,
                 lambda d, part, h: [f(_clipped(part + h @ recurrent[d].T, clip))])


@rnn_scan.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return _cost(operands, results, 2)


@op(opaque=True, recurrence=GRU)
def gru_scan(x: TensorType, recurrent: TensorType, bias: TensorType | None = None, h0: TensorType | None = None,
             lengths: TensorType | None = None, *, linear_before_reset: bool = True, direction: Direction = "forward",
             clip: Clip = None) -> tuple[TensorType, TensorType]:
    """The recurrence of gated recurrent units (arXiv:1406.1078) on projected inputs.

    Gates are r, z, n, in this order, as in PyTorch: r = sigmoid(x_r + R_r h), z = sigmoid(x_z + R_z h), n = tanh(x_n + r (R_n h +
    bias)), h' = (1 - z) n + z h; linear_before_reset=False: n = tanh(x_n + R_n (r h) + bias), as first published.
    x [B, T, D 3 H], recurrent R [D, 3 H, H], bias [D, H]; all else is as in `rnn_scan`.
    """
    y, h = _scanned(x, recurrent, {"h0": h0}, lengths, GRU, direction)
    check_state(bias, "bias", (recurrent.shape[0], recurrent.shape[2]), x)
    return y, h


@gru_scan.reference
def _(x, recurrent, bias, h0, lengths, *, linear_before_reset, direction, clip):  # type: ignore[no-untyped-def]
    hidden = recurrent.shape[2]

    def step(d, part, h):  # type: ignore[no-untyped-def]
        gates = _sigmoid(_clipped(part[:, :2 * hidden] + h @ recurrent[d, :2 * hidden].T, clip))
        reset, update = gates[:, :hidden], gates[:, hidden:]
        added = 0 if bias is None else bias[d]
        weight = recurrent[d, 2 * hidden:].T
        inner = reset * (h @ weight + added) if linear_before_reset else (reset * h) @ weight + added
        new = np.tanh(_clipped(part[:, 2 * hidden:] + inner, clip))
        return [(1 - update) * new + update * h]

    return _scan(x, recurrent, [h0], lengths, direction, step)


@gru_scan.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return _cost(operands, results, 13)


@op(opaque=True, recurrence=LSTM)
def lstm_scan(x: TensorType, recurrent: TensorType, h0: TensorType | None = None, c0: TensorType | None = None,
              lengths: TensorType | None = None, peephole: TensorType | None = None, *, direction: Direction = "forward",
              clip: Clip = None) -> tuple[TensorType, TensorType, TensorType]:
    """The recurrence of long short-term memory (doi:10.1162/neco.1997.9.8.1735) on projected inputs.

    Gates are i, f, g, o, in this order, as in PyTorch: i, f, o = sigmoid(x + R h), g = tanh(x_g + R_g h), c' = f c + i g,
    h' = o tanh(c'). x [B, T, D 4 H], recurrent R [D, 4 H, H], c0 [D, B, H]; y, the last h, and the last c [D, B, H].
    peephole [D, 3 H]: p_i c, p_f c and p_o c' are added to what the sigmoids of i, f and o take (doi:10.1162/153244303768966139).
    All else is as in `rnn_scan`.
    """
    y, h, c = _scanned(x, recurrent, {"h0": h0, "c0": c0}, lengths, LSTM, direction)
    check_state(peephole, "peephole", (recurrent.shape[0], 3 * recurrent.shape[2]), x)
    return y, h, c


@lstm_scan.reference
def _(x, recurrent, h0, c0, lengths, peephole, *, direction, clip):  # type: ignore[no-untyped-def]
    def step(d, part, h, c):  # type: ignore[no-untyped-def]
        i, f, g, o = np.split(part + h @ recurrent[d].T, 4, axis=-1)
        from_i, from_f, from_o = (0, 0, 0) if peephole is None else np.split(peephole[d], 3)
        i, f = (_sigmoid(_clipped(v, clip)) for v in (i + from_i * c, f + from_f * c))
        c = f * c + i * np.tanh(_clipped(g, clip))
        return [_sigmoid(_clipped(o + from_o * c, clip)) * np.tanh(c), c]

    return _scan(x, recurrent, [h0, c0], lengths, direction, step)


@lstm_scan.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return _cost(operands, results, 18)
