"""Samples of rotary embeddings: pairs as complex numbers, which one product turns."""

from __future__ import annotations

from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import FLOATS, Sample

B, S = tg.dims("B S")


def turned(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, pairs: Any) -> np.ndarray:
    """Tables of one number a pair; `pairs(x, i)` are the first (0) or second (1) elements of the pairs, as a view."""
    made = np.empty(x.shape)
    z = (pairs(x, 0) + 1j * pairs(x, 1)) * (cos + 1j * sin)
    pairs(made, 0)[...], pairs(made, 1)[...] = z.real, z.imag
    return made


def by_halves(x: np.ndarray, i: int) -> np.ndarray:
    half = x.shape[-1] // 2
    return x[..., i * half:(i + 1) * half]


def by_neighbours(x: np.ndarray, i: int) -> np.ndarray:
    return x[..., i::2]


def whole(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, pairs: Any) -> np.ndarray:
    """Tables of one number an element: x cos + R sin, R the matrix of a quarter turn."""
    turn = np.zeros((x.shape[-1],) * 2)
    columns = np.arange(x.shape[-1])
    turn[pairs(columns, 0), pairs(columns, 1)], turn[pairs(columns, 1), pairs(columns, 0)] = -1, 1
    return np.einsum("...j,ij->...i", x, turn) * sin + x * cos


def rotary() -> list[Sample]:
    heads, flat = tg.f32[B, 3, S, 64], tg.f32[S, 6]
    tables: dict[str, tuple[tg.TensorType, tg.TensorType]] = {
        "heads": (heads, tg.f32[S, 32]), "batch": (heads, tg.f32[B, 1, S, 32]), "seconds": (tg.f32[B, S, 3, 16], tg.f32[S, 1, 8]),
        "odd": (flat, tg.f32[S, 3]), "angle": (flat, tg.f32[3]), "pair": (tg.f32[S, 2], tg.f32[S, 1]),
        "one_row": (tg.f32[1, 40], tg.f32[20]),
    }
    found = []
    for pairs in (by_halves, by_neighbours):
        def turn(*xs: Any, interleaved: bool = pairs is by_neighbours) -> Any:
            return tg.rotary(*xs, interleaved=interleaved)

        for name, (x, table) in tables.items():
            specs = {"x": x, "cos": table, "sin": table}
            found.append(Sample("rotary", f"{pairs.__name__}_{name}", turn, specs, lambda *xs, p=pairs: turned(*xs, p)))
            specs = {"x": x, **{n: table.with_shape((*table.shape[:-1], x.shape[-1])) for n in ("cos", "sin")}}
            found.append(Sample("rotary", f"{pairs.__name__}_{name}_whole", turn, specs, lambda *xs, p=pairs: whole(*xs, p)))
        for d in FLOATS:
            specs = {"x": d[3, 4, 32], "cos": d[4, 16], "sin": d[4, 16]}
            found.append(Sample("rotary", f"{pairs.__name__}_{d.name}", turn, specs, lambda *xs, p=pairs: turned(*xs, p)))

        def attention(q: Any, k: Any, v: Any, cos: Any, sin: Any, turn: Any = turn) -> Any:
            return tg.attention(turn(q, cos, sin), turn(k, cos, sin), v)

        def attended(q: Any, k: Any, v: Any, cos: Any, sin: Any, p: Any = pairs) -> np.ndarray:
            scores = np.einsum("bhid,bhjd->bhij", turned(q, cos, sin, p), turned(k, cos, sin, p)) / q.shape[-1] ** 0.5
            e = np.exp(scores - scores.max(-1, keepdims=True))
            return np.einsum("bhij,bhjd->bhid", e / e.sum(-1, keepdims=True), v)

        for width in (8, 12, 64):
            x = tg.f32[B, 2, S, width]
            found.append(Sample("rotary", f"{pairs.__name__}_attention{width}", attention, {
                "q": x, "k": x, "v": x, "cos": tg.f32[S, width // 2], "sin": tg.f32[S, width // 2]}, attended))
    return found


ROTARY = rotary()
