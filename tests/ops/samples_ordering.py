"""Samples of the ops that order elements along an axis, and of those that read and write them there by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import EVERY, INTEGERS, SIZES, Sample, integers, values

B, S, T = tg.dims("B S T")
L, M = tg.dim("L", min=4, max=9), tg.dim("M", min=8)
WITH_L = {**SIZES, "L": 7}
EMPTY = {**SIZES, "S": 0}
NAN, INF = np.nan, np.inf
HARD = [[NAN, 1.0, -INF, INF, NAN, -0.0, 0.0, 1.0], [INF, INF, NAN, -INF, 2.0, -INF, 2.0, 2.0]]


def sorted_places(row: Any, descending: bool) -> list[int]:
    """Python's own stable sort, with NaN above all."""
    def key(i: int) -> tuple[bool, float]:
        number = float(row[i])
        return (True, 0.0) if number != number else (False, number)

    if not descending:
        return sorted(range(len(row)), key=key)
    return sorted(range(len(row)), key=lambda i: (not key(i)[0], -key(i)[1]))


def along(x: np.ndarray, axis: int, row: Callable[[np.ndarray], Any]) -> np.ndarray:
    moved = np.moveaxis(x, axis, -1)
    rows = [row(r) for r in moved.reshape(-1, moved.shape[-1])]
    length = len(rows[0]) if rows else 0
    return np.moveaxis(np.array(rows).reshape(*moved.shape[:-1], length), -1, axis)


def order(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    return along(x, axis, lambda r: sorted_places(r, descending)).astype(np.int64)


def first(x: np.ndarray, k: int, axis: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    return (along(x, axis, lambda r: r[sorted_places(r, largest)[:k]]).astype(x.dtype),
            along(x, axis, lambda r: sorted_places(r, largest)[:k]).astype(np.int64))


def orders() -> list[Sample]:
    few = integers(0, 3)
    found = [
        Sample("argsort", "last", lambda x: tg.argsort(x), {"x": tg.f32[B, S]}, lambda x: order(x, -1, False)),
        Sample("argsort", "descending", lambda x: tg.argsort(x, descending=True), {"x": tg.f32[B, S]},
               lambda x: order(x, -1, True)),
        Sample("argsort", "middle", lambda x: tg.argsort(x, axis=1), {"x": tg.f32[B, S, 3]}, lambda x: order(x, 1, False)),
        Sample("argsort", "ties", lambda x: tg.argsort(x), {"x": tg.i32[4, 33]}, lambda x: order(x, -1, False), {"x": few}),
        Sample("argsort", "ties_descending", lambda x: tg.argsort(x, descending=True), {"x": tg.i8[4, 33]},
               lambda x: order(x, -1, True), {"x": few}),
        Sample("argsort", "nan", lambda x: tg.argsort(x), {"x": tg.f32[2, 8]}, lambda x: order(x, -1, False),
               {"x": values(HARD)}),
        Sample("argsort", "nan_descending", lambda x: tg.argsort(x, descending=True), {"x": tg.f16[2, 8]},
               lambda x: order(x, -1, True), {"x": values(HARD)}),
        Sample("argsort", "nothing", lambda x: tg.argsort(x), {"x": tg.f32[B, S]},
               lambda x: np.zeros((2, 0), np.int64), {}, EMPTY),
        Sample("argsort", "one", lambda x: tg.argsort(x, axis=0), {"x": tg.f32[1, S]}, lambda x: np.zeros((1, 5), np.int64)),
        Sample("argsort", "of_a_sum", lambda x: tg.argsort(x + 1.0), {"x": tg.f32[40]}, lambda x: order(x, -1, False)),
        Sample("topk", "largest", lambda x: tg.topk(x, k=2), {"x": tg.f32[B, L]}, lambda x: first(x, 2, -1, True), {}, WITH_L),
        Sample("topk", "smallest", lambda x: tg.topk(x, k=2, largest=False), {"x": tg.f32[B, L]},
               lambda x: first(x, 2, -1, False),
               {}, WITH_L),
        Sample("topk", "all", lambda x: tg.topk(x, k=6), {"x": tg.f32[B, 6]}, lambda x: first(x, 6, -1, True)),
        Sample("topk", "rounds", lambda x: tg.topk(x, k=4), {"x": tg.f32[B, 40]}, lambda x: first(x, 4, -1, True)),
        Sample("topk", "rounds_to_the_end", lambda x: tg.topk(x, k=4), {"x": tg.f32[L, 3, L]},
               lambda x: first(x, 4, -1, True), {},
               {**SIZES, "L": 4}),
        Sample("topk", "first_axis", lambda x: tg.topk(x, k=2, axis=0), {"x": tg.f32[20, S]}, lambda x: first(x, 2, 0, True)),
        Sample("topk", "ties", lambda x: tg.topk(x, k=5), {"x": tg.i32[3, 40]}, lambda x: first(x, 5, -1, True), {"x": few}),
        Sample("topk", "ties_smallest", lambda x: tg.topk(x, k=5, largest=False), {"x": tg.u8[3, 40]},
               lambda x: first(x, 5, -1, False), {"x": few}),
        Sample("topk", "none", lambda x: tg.topk(x, k=0), {"x": tg.f32[B, 4]},
               lambda x: (np.zeros((2, 0)), np.zeros((2, 0), np.int64))),
        Sample("topk", "of_no_rows", lambda x: tg.topk(x, k=2), {"x": tg.f32[S, 9]},
               lambda x: (np.zeros((0, 2)), np.zeros((0, 2), np.int64)), {}, EMPTY),
    ]
    for name, largest in (("largest", True), ("smallest", False)):  # few that are wanted of many, and all: the two ways
        found.append(Sample("topk", f"nan_{name}", lambda x, g=largest: tg.topk(x, k=8, largest=g), {"x": tg.f32[2, 8]},
                            lambda x, g=largest: first(x, 8, -1, g), {"x": values(HARD)}))
        found.append(Sample("topk", f"nan_{name}_rounds", lambda x, g=largest: tg.topk(x, k=8, largest=g), {"x": tg.f32[B, M]},
                            lambda x, g=largest: first(x, 8, -1, g), {"x": values(HARD)}, {"B": 2, "M": 8}))
    for d in EVERY:
        found.append(Sample("argsort", d.name, lambda x: tg.argsort(x), {"x": d[3, 7]}, lambda x: order(x, -1, False)))
        found.append(Sample("topk", d.name, lambda x: tg.topk(x, k=2), {"x": d[3, 17]}, lambda x: first(x, 2, -1, True)))
    return found


def take(x: np.ndarray, i: np.ndarray, axis: int) -> np.ndarray:
    y = np.zeros(i.shape, x.dtype)
    for place in np.ndindex(*i.shape):
        source = list(place)
        source[axis] = int(i[place])
        y[place] = x[tuple(source)]
    return y


def write(x: np.ndarray, i: np.ndarray, u: np.ndarray, axis: int,
          combine: Callable[[Any, Any], Any] = lambda a, b: b) -> np.ndarray:
    y = x.copy()
    for place in np.ndindex(*i.shape):
        goal = list(place)
        goal[axis] = int(i[place])
        y[tuple(goal)] = combine(y[tuple(goal)], u[place])
    return y


def places() -> list[Sample]:
    found = [
        Sample("take_along_axis", "last", lambda x, i: tg.take_along_axis(x, i, axis=-1), {"x": tg.f32[B, 6], "i": tg.i64[B, S]},
               lambda x, i: take(x, i, -1), {"i": integers(-6, 6)}),
        Sample("take_along_axis", "first", lambda x, i: tg.take_along_axis(x, i, axis=0), {"x": tg.f32[6, S], "i": tg.i32[2, S]},
               lambda x, i: take(x, i, 0), {"i": integers(-6, 6)}),
        Sample("take_along_axis", "middle", lambda x, i: tg.take_along_axis(x, i, axis=1),
               {"x": tg.f32[B, S, 3], "i": tg.i64[B, T, 3]}, lambda x, i: take(x, i, 1), {"i": integers(-5, 5)}),
        Sample("take_along_axis", "vector", lambda x, i: tg.take_along_axis(x, i, axis=0), {"x": tg.f32[6], "i": tg.i64[S]},
               lambda x, i: x[i], {"i": integers(-6, 6)}),
        Sample("take_along_axis", "none", lambda x, i: tg.take_along_axis(x, i, axis=1), {"x": tg.f32[B, S], "i": tg.i64[B, 0]},
               lambda x, i: np.zeros((2, 0)), {}, EMPTY),
        Sample("take_along_axis", "no_rows", lambda x, i: tg.take_along_axis(x, i, axis=1),
               {"x": tg.f32[S, 4], "i": tg.i64[S, 2]},
               lambda x, i: np.zeros((0, 2)), {}, EMPTY),
        Sample("scatter", "last_wins", lambda x, i, u: tg.scatter(x, i, u, axis=-1),
               {"x": tg.f32[B, 4], "i": tg.i64[B, S], "u": tg.f32[B, S]}, lambda x, i, u: write(x, i, u, -1),
                      {"i": integers(-4, 4)}),
        Sample("scatter", "first", lambda x, i, u: tg.scatter(x, i, u, axis=0),
               {"x": tg.f32[6, S], "i": tg.i32[3, S], "u": tg.f32[3, S]}, lambda x, i, u: write(x, i, u, 0),
                      {"i": integers(0, 6)}),
        Sample("scatter", "none", lambda x, i, u: tg.scatter(x, i, u, axis=1),
               {"x": tg.f32[B, 3], "i": tg.i64[B, S], "u": tg.f32[B, S]}, lambda x, i, u: x, {}, EMPTY),
        Sample("scatter", "nowhere", lambda x, i, u: tg.scatter(x, i, u, axis=1, reduction="add"),
               {"x": tg.f32[B, S], "i": tg.i64[B, 0], "u": tg.f32[B, 0]}, lambda x, i, u: x, {}, EMPTY),
        Sample("scatter", "infinity", lambda x, i, u: tg.scatter(x, i, u, axis=0, reduction="add"),
               {"x": tg.f32[3], "i": tg.i64[3], "u": tg.f32[3]}, lambda x, i, u: np.array([INF, NAN, x[2]]),
               {"i": values([0, 1, 1]), "u": values([INF, INF, -INF])}),
        Sample("scatter", "nan_max", lambda x, i, u: tg.scatter(x, i, u, axis=0, reduction="max"),
               {"x": tg.f32[3], "i": tg.i64[2], "u": tg.f32[2]}, lambda x, i, u: np.array([NAN, x[1], 9.0]),
               {"i": values([0, 2]), "u": values([NAN, 9.0])}),
    ]
    combined: dict[str, Callable[[Any, Any], Any]] = {"add": lambda a, b: a + b, "mul": lambda a, b: a * b, "max": np.maximum,
                                                      "min": np.minimum}
    for name, combine in combined.items():
        for d in (tg.f32, tg.f16, tg.i32, tg.u8):
            found.append(Sample("scatter", f"{name}_{d.name}", lambda x, i, u, n=name: tg.scatter(x, i, u, axis=1, reduction=n),
                                {"x": d[B, 4, 3], "i": tg.i64[B, S, 3], "u": d[B, S, 3]},
                                lambda x, i, u, f=combine: write(x, i, u, 1, f), {"i": integers(-4, 4), "u": integers(0, 3)}))
    for d in EVERY:
        found.append(Sample("take_along_axis", f"of_{d.name}", lambda x, i: tg.take_along_axis(x, i, axis=-1),
                            {"x": d[3, 7], "i": tg.i64[3, 2]}, lambda x, i: take(x, i, -1), {"i": integers(-7, 7)}))
        found.append(Sample("scatter", f"of_{d.name}", lambda x, i, u: tg.scatter(x, i, u, axis=-1),
                            {"x": d[3, 7], "i": tg.i64[3, 2], "u": d[3, 2]}, lambda x, i, u: write(x, i, u, -1),
                            {"i": integers(-7, 7)}))
    for d in INTEGERS:
        low = 0 if d.kind == "uint" else -7
        found.append(Sample("take_along_axis", f"by_{d.name}", lambda x, i: tg.take_along_axis(x, i, axis=-1),
                            {"x": tg.f32[3, 7], "i": d[3, 2]}, lambda x, i: take(x, i, -1), {"i": integers(low, 7)}))
        found.append(Sample("scatter", f"by_{d.name}", lambda x, i, u: tg.scatter(x, i, u, axis=-1),
                            {"x": tg.f32[3, 7], "i": d[3, 2], "u": tg.f32[3, 2]}, lambda x, i, u: write(x, i, u, -1),
                            {"i": integers(low, 7)}))
    return found


ORDERING = [*orders(), *places()]
