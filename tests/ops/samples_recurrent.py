"""Samples of recurrent layers, and of their recurrences alone. What is expected is computed one row and one step at a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import Sample, as_tuple, uniform, values

B, T = tg.dims("B T")
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
SIZES = {"B": 3, "T": 5}
LENGTHS = (5, 1, 3)
Operands = Mapping[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def step(cell: str, x: np.ndarray, h: np.ndarray, c: np.ndarray, r: np.ndarray, bias: np.ndarray, p: np.ndarray,
         clip: float = np.inf, linear_before_reset: bool = True, activation: str = "tanh") -> tuple[np.ndarray, np.ndarray]:
    """One step of one row: x [gates H], states [H], recurrent weights [gates H, H], the bias of n [H], peepholes [3 H]."""
    cut = lambda v: np.clip(v, -clip, clip)
    if cell == "rnn":
        return (np.tanh if activation == "tanh" else lambda v: np.maximum(v, 0))(cut(x + r @ h)), c
    if cell == "gru":
        (xr, xz, xn), (rr, rz, rn) = np.split(x, 3), np.split(r, 3)
        reset, update = sigmoid(cut(xr + rr @ h)), sigmoid(cut(xz + rz @ h))
        new = np.tanh(cut(xn + (reset * (rn @ h + bias) if linear_before_reset else rn @ (reset * h) + bias)))
        return (1 - update) * new + update * h, c
    (xi, xf, xg, xo), (pi, pf, po) = np.split(x + r @ h, 4), np.split(p, 3)
    c_new = sigmoid(cut(xf + pf * c)) * c + sigmoid(cut(xi + pi * c)) * np.tanh(cut(xg))
    return sigmoid(cut(xo + po * c_new)) * np.tanh(c_new), c_new


def recur(cell: str, x: np.ndarray, recurrent: np.ndarray, bias: Any = None, h0: Any = None, c0: Any = None, lengths: Any = None,
          peephole: Any = None, direction: str = "forward", **options: Any) -> tuple[np.ndarray, ...]:
    """The recurrence on projected inputs."""
    batch, length, _ = x.shape
    count, rows, hidden = recurrent.shape
    zeros = np.zeros((count, batch, hidden))
    h, c = (zeros.copy() if s is None else s.copy() for s in (h0, c0))
    y = np.zeros((batch, length, count * hidden))
    for d, b in itertools.product(range(count), range(batch)):
        places = range(length if lengths is None else max(0, min(int(lengths[b]), length)))
        for t in reversed(places) if d or direction == "reverse" else places:
            h[d, b], c[d, b] = step(cell, x[b, t, d * rows:(d + 1) * rows], h[d, b], c[d, b], recurrent[d],
                                    np.zeros(hidden) if bias is None else bias[d],
                                    np.zeros(3 * hidden) if peephole is None else peephole[d], **options)
            y[b, t, d * hidden:(d + 1) * hidden] = h[d, b]
    return (y, h, c) if cell == "lstm" else (y, h)


def layer(cell: str, x: np.ndarray, weight: np.ndarray, recurrent: np.ndarray, bias: Any = None, recurrent_bias: Any = None,
          **rest: Any) -> tuple[np.ndarray, ...]:
    """The layer: its products, and the recurrence."""
    hidden = recurrent.shape[2]
    added = np.zeros(weight.shape[:2]) if bias is None else bias.copy()
    inner = np.zeros((len(weight), hidden))
    if recurrent_bias is not None:
        kept = 2 * hidden if cell == "gru" else recurrent_bias.shape[1]
        added[:, :kept] += recurrent_bias[:, :kept]
        inner = recurrent_bias[:, kept:] if cell == "gru" else inner
    projected = np.concatenate([x @ w.T + b for w, b in zip(weight, added)], axis=-1)
    return recur(cell, projected, recurrent, inner, **rest)


def sample(cell: str, variant: str, has: str = "", *, scan: bool = False, known: bool = False, hidden: int = 6, inputs: int = 5,
           dtype: tg.DType = tg.f32, sizes: Mapping[str, int] = SIZES, lengths: tuple[int, ...] = LENGTHS,
           lengths_dtype: tg.DType = tg.i64, only: int = 3, **attrs: Any) -> Sample:
    """A sample; `has` names the optional operands, `only` is how many results are read, `known` makes constants of weights."""
    count, gates = 2 if attrs.get("direction") == "bidirectional" else 1, GATES[cell]
    rows = gates * hidden
    types = {"h0": dtype[count, B, hidden], "c0": dtype[count, B, hidden], "lengths": lengths_dtype[B],
             "peephole": dtype[count, 3 * hidden], "bias": dtype[count, hidden if scan else rows],
             "recurrent_bias": dtype[count, rows]}
    specs = {"x": dtype[B, T, count * rows if scan else inputs], **{name: types[name] for name in has.split()}}
    weights = {"recurrent": dtype[count, rows, hidden], **({} if scan else {"weight": dtype[count, rows, inputs]})}
    generator = np.random.default_rng(hidden)
    arrays = {name: generator.uniform(-0.7, 0.7, t.shape).astype(dtype.numpy) for name, t in weights.items()} if known else {}
    specs = specs if known else specs | weights
    names, op, formula = list(specs), f"{cell}_scan" if scan else cell, recur if scan else layer

    def build(*tensors: tg.Tensor) -> Any:
        return as_tuple(getattr(tg, op)(**dict(zip(names, tensors)), **arrays, **attrs))[:only]

    def expect(*given: np.ndarray) -> Any:
        wide = {name: array.astype(np.float64) for name, array in arrays.items()}
        return formula(cell, **dict(zip(names, given)), **wide, **attrs)[:only]

    make = {name: uniform(-0.7, 0.7) for name in weights} | {"lengths": values(*lengths)}
    return Sample(op, variant, build, specs, expect, make, sizes, loss=4.0)


STATES = {"rnn": "h0", "gru": "h0", "lstm": "h0 c0"}
DTYPES = {"rnn": (tg.f16,), "gru": (tg.bf16,), "lstm": (tg.f16, tg.f64)}


def recurrent() -> list[Sample]:
    found = []
    for cell, states in STATES.items():
        everything = f"bias recurrent_bias {states} lengths"
        found += [
            sample(cell, "reverse", everything, direction="reverse", clip=0.5),
            sample(cell, "both", everything, direction="bidirectional", known=True, hidden=17),
            sample(cell, "empty_rows", f"{states} lengths", scan=True, hidden=35, known=True, sizes={"B": 37, "T": 3},
                   lengths=(4, 1, 0, -2, 3, 3, 1), lengths_dtype=tg.i32),
            *[sample(cell, d.name, f"{states} lengths", scan=True, dtype=d) for d in DTYPES[cell]],
        ]
    return [
        *found,
        sample("rnn", "relu", "h0 lengths", scan=True, activation="relu", clip=0.4, direction="reverse"),
        sample("gru", "first_form", "bias recurrent_bias h0 lengths", linear_before_reset=False),
        sample("gru", "first_form_both", "bias h0 lengths", scan=True, linear_before_reset=False, direction="bidirectional",
               known=True, hidden=40, clip=1.5),
        sample("lstm", "peephole", "bias h0 c0 lengths peephole", clip=1.0, direction="bidirectional"),
        sample("lstm", "one_step", "recurrent_bias", sizes={"B": 1, "T": 1}, only=1),
        sample("lstm", "empty_steps", "h0 c0 lengths", scan=True, sizes={"B": 3, "T": 0}),
        sample("lstm", "empty_batch", "h0 c0 lengths", scan=True, sizes={"B": 0, "T": 4}),
    ]


def packing() -> list[Sample]:
    def panels(w: np.ndarray, gates: int, width: int) -> np.ndarray:
        count, rows, depth = w.shape
        hidden = rows // gates
        made = np.zeros((count, -(-hidden // width), depth, gates * width))
        for d, g, u in itertools.product(range(count), range(gates), range(hidden)):
            made[d, u // width, :, g * width + u % width] = w[d, g * hidden + u]
        return made

    found = []
    for gates, hidden, width in ((3, 5, 2), (4, 4, 4), (1, 3, 8)):
        found += [
            Sample("pack_gates", f"{gates}_{hidden}_{width}", lambda w, g=gates, n=width: tg.pack_gates(w, gates=g, width=n),
                   {"w": tg.f32[2, gates * hidden, 3]}, lambda w, g=gates, n=width: panels(w, g, n)),
            Sample("unpack_gates", f"{gates}_{hidden}_{width}",
                   lambda w, g=gates, n=width, h=hidden: tg.unpack_gates(tg.pack_gates(w, gates=g, width=n), gates=g, hidden=h),
                   {"w": tg.f32[2, gates * hidden, 3]}, lambda w: w),
        ]
    return found


RECURRENT = [*recurrent(), *packing()]
