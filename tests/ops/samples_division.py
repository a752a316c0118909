"""Samples of quotients and remainders where they are delicate: the ends of integers, 0, infinities, huge ratios."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import INTEGERS, Sample

TRUNCATED = lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
EXACT: dict[str, Callable[[int, int], int]] = {"div": TRUNCATED, "floor_div": operator.floordiv, "mod": operator.mod}


def of_integers(op: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By Python's integers, which have no end: 0 for a divisor of 0, and wrapped around where the type ends."""
    info = np.iinfo(x.dtype)
    size = int(info.max) - int(info.min) + 1
    wrap = lambda v: (v - int(info.min)) % size + int(info.min)
    return np.array([wrap(EXACT[op](a, b)) if b else 0 for a, b in zip(x.tolist(), y.tolist())], x.dtype)


def of_floats(op: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By Python's floats, and IEEE 754 where they raise an error."""
    def one(a: float, b: float) -> float:
        if b == 0:
            return math.nan if op == "mod" else float(np.divide(a, b))
        return math.nan if math.isinf(a) else EXACT[op](a, b)  # type: ignore[arg-type, return-value]

    return np.array([one(a, b) for a, b in zip(x.tolist(), y.tolist())])


def crossed_pairs(*values: Any) -> list[tuple[Any, Any]]:
    return [(a, b) for a in values for b in values]


def crossed(*values: Any) -> tuple[Any, Any, int]:
    """Feeds that make every pair of the values, and how many there are."""
    pairs = crossed_pairs(*values)
    return (lambda _, shape: np.array([a for a, _ in pairs])), (lambda _, shape: np.array([b for _, b in pairs])), len(pairs)


def ends(dtype: tg.DType) -> list[int]:
    info = np.iinfo(dtype.numpy)
    low, high = int(info.min), int(info.max)
    wide = [2**53 + 1, -(2**53) - 1] if dtype is tg.i64 else []
    found = {low, low + 1, -7, -2, -1, 0, 1, 2, 3, 10, high // 3 + 1, high - 1, high, *wide}
    return sorted(v for v in found if low <= v <= high)


def integer_divisions() -> list[Sample]:
    found = []
    for op in EXACT:
        divide, expect = getattr(tg, op), lambda x, y, op=op: of_integers(op, x, y)
        for d in INTEGERS:
            x, y, count = crossed(*ends(d))
            found.append(Sample(op, f"ends_{d.name}", divide, {"x": d[count], "y": d[count]}, expect, {"x": x, "y": y}))
            # a guard of the model's own must not make a kernel drop its own
            one = -1 if d.kind == "int" else 1
            guards = lambda x, y, f=divide, one=one: (tg.where(y == 0, 0, f(x, y)), tg.where(y != 0, f(x, y), 1),
                                                      tg.where(y == one, 5, f(x, y)))
            guarded = lambda x, y, e=expect, one=one: (e(x, y), np.where(y != 0, e(x, y), 1), np.where(y == one, 5, e(x, y)))
            found.append(Sample(op, f"guarded_{d.name}", guards, {"x": d[count], "y": d[count]}, guarded, {"x": x, "y": y}))
            literals = [v for v in (0, 1, 3, -1, -3, int(np.iinfo(d.numpy).min)) if v >= 0 or d.kind == "int"]
            by_literals = lambda x, f=divide, ls=literals: tuple(r for v in ls for r in (f(x, v), f(v, x)))
            expected = lambda x, e=expect, ls=literals: tuple(
                r for v in ls for r in (e(x, np.full_like(x, v)), e(np.full_like(x, v), x)))
            found.append(Sample(op, f"literal_{d.name}", by_literals, {"x": d[count]}, expected, {"x": y}))
            # both of them literals that nothing folds: of a shape that only a call knows
            among = lambda x, f=divide, ls=literals: tuple(
                f(tg.full(shape=x.shape, value=v, dtype=x.dtype), w) for v in ls for w in ls)
            both = lambda x, e=expect, ls=literals: tuple(
                e(np.full_like(x, v), np.full_like(x, w)) for v in ls for w in ls)
            found.append(Sample(op, f"literals_{d.name}", among, {"x": d[tg.dim("B")]}, both))
            # both operands constant: what folding them computes
            first, second = (feed(None, None).astype(d.numpy) for feed in (x, y))
            every = lambda z, a=first, b=second, f=divide: z + f(tg.gather(a, np.arange(a.size)), b)
            found.append(Sample(op, f"constants_{d.name}", every, {"z": d[count]},
                                lambda z, a=first, b=second, e=expect: z + e(a, b), {"z": lambda _, shape: np.zeros(shape)}))
    return found


# (x, y): huge quotients, quotients just below a whole number, infinities, zeros of both signs, divisors of 0
PAIRS = [(1e9, math.pi), (-1e9, math.pi), (1e30, 7.0), (-1e30, 7.0), (1e30, -3.0), (1.0, 0.1), (0.3, 0.1), (-0.3, 0.1),
         (5.0, math.inf), (-5.0, math.inf), (5.0, -math.inf), (-5.0, -math.inf), (0.0, math.inf), (-0.0, 3.0), (0.0, -3.0),
         (6.0, 3.0), (-6.0, 3.0), (7.5, -2.0), (-7.5, 2.0), (1e-3, 1e3), (3.0, 0.0), (-3.0, 0.0), (0.0, 0.0), (3.0, -0.0),
         (math.inf, 3.0), (-math.inf, 3.0), (math.inf, math.inf), (math.nan, 2.0), (2.0, math.nan),
         (16777215.0, 1.5)]  # fmt: skip


# (x, y): quotients that are rounded down to 0, which has the sign of x / y
ZEROS = [(x, y) for x, y in crossed_pairs(0.0, -0.0, -0.5, 0.5, 1.0, -1.0, 3.0, -3.0, math.inf, -math.inf)
         if y and abs(x) < abs(y) and (x == 0 or (x < 0) == (y < 0))]
# (x, y) that leave a rest of 0, which has the sign of y
WHOLE = [(x, y) for x, y in crossed_pairs(0.0, -0.0, 6.0, -6.0, 3.0, -3.0, math.inf, -math.inf)
         if y and not math.isinf(x) and math.fmod(x, y) == 0]


def float_divisions() -> list[Sample]:
    found = []
    for d in (tg.f32, tg.f64):
        one, two = (lambda _, shape, i=i: np.array([p[i] for p in ZEROS]) for i in range(2))
        found.append(Sample("floor_div", f"zeros_{d.name}", lambda x, y: 1.0 / tg.floor_div(x, y),
                            {"x": d[len(ZEROS)], "y": d[len(ZEROS)]},
                            lambda x, y: np.copysign(np.inf, np.copysign(1.0, x) * np.copysign(1.0, y)), {"x": one, "y": two}))
        one, two = (lambda _, shape, i=i: np.array([p[i] for p in WHOLE]) for i in range(2))
        found.append(Sample("mod", f"zeros_{d.name}", lambda x, y: 1.0 / tg.mod(x, y), {"x": d[len(WHOLE)], "y": d[len(WHOLE)]},
                            lambda x, y: np.copysign(np.inf, y), {"x": one, "y": two}))
    for op in ("mod", "floor_div"):
        for d in (tg.f32, tg.f64):
            one, two = (lambda _, shape, i=i: np.array([p[i] for p in PAIRS]) for i in range(2))
            found.append(Sample(op, f"far_{d.name}", getattr(tg, op), {"x": d[len(PAIRS)], "y": d[len(PAIRS)]},
                                lambda x, y, op=op: of_floats(op, x, y), {"x": one, "y": two}))
    return found


DIVISIONS = [*integer_divisions(), *float_divisions()]
