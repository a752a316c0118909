"""Samples at the ends of what f32 holds: sums of very many terms, norms of huge and of tiny rows, angles of every size."""

from __future__ import annotations

import math

import numpy as np

import tgraph as tg
from tests.ops.sample import Make, Sample, values

N, S = tg.dims("N S")
MANY = 300_001
# alike, so that the errors of a chain of additions are alike too, and do not cancel
ALIKE = values(np.float32(0.1))


def total(x: np.ndarray, axis: int) -> np.ndarray:
    """By Python's exactly rounded sum."""
    return np.array([math.fsum(row) for row in np.moveaxis(x, axis, -1).tolist()])


def sums() -> list[Sample]:
    long = {"N": 1, "S": MANY}
    lasting = lambda x: np.arange(1, x.shape[-1] + 1) * x[..., :1]
    return [
        Sample("reduce_sum", "long_row", lambda x: tg.reduce_sum(x, axes=-1), {"x": tg.f32[N, S]}, lambda x: total(x, 1),
               {"x": ALIKE}, long),
        Sample("reduce_mean", "long_row", lambda x: tg.reduce_mean(x, axes=-1), {"x": tg.f32[2, MANY]},
               lambda x: total(x, 1) / MANY, {"x": ALIKE}),
        Sample("reduce_sum", "long_column", lambda x: tg.reduce_sum(x, axes=0), {"x": tg.f32[S, N]}, lambda x: total(x, 0),
               {"x": ALIKE}, long),
        Sample("reduce_mean", "long_column", lambda x: tg.reduce_mean(x, axes=0), {"x": tg.f32[20_011, 19]},
               lambda x: total(x, 0) / 20_011, {"x": ALIKE}),
        Sample("reduce_sum", "long_middle", lambda x: tg.reduce_sum(x, axes=1), {"x": tg.f32[2, S, 1]}, lambda x: x[:, 0] * MANY,
               {"x": ALIKE}, long),
        Sample("reduce_sum", "infinite", lambda x: (tg.reduce_sum(x, axes=-1), tg.reduce_sum(x, axes=0)), {"x": tg.f32[S, S]},
               lambda x: (np.array([np.inf, -np.inf, *[300.0] * 298]), np.array([-np.inf, np.inf, *[300.0] * 298])),
               {"x": lambda _, shape: with_infinities(shape)}, {"S": 300}),
        Sample("cumsum", "long", lambda x: tg.cumsum(x, axis=-1), {"x": tg.f32[N, S]}, lasting, {"x": ALIKE}, long),
        Sample("cumsum", "long_exclusive", lambda x: tg.cumsum(x, axis=-1, exclusive=True), {"x": tg.f32[1, MANY]},
               lambda x: lasting(x) - x, {"x": ALIKE}),
        Sample("cumsum", "exclusive_infinite", lambda x: tg.cumsum(x, axis=-1, exclusive=True), {"x": tg.f32[4]},
               lambda x: np.array([0, 1, 3, np.inf]), {"x": values(1.0, 2.0, math.inf, 1.0)}),
        Sample("softmax", "long", tg.softmax, {"x": tg.f32[N, S]}, lambda x: np.full(x.shape, 1 / MANY), {"x": ALIKE}, long),
    ]  # fmt: skip


def with_infinities(shape: tuple[int, ...]) -> np.ndarray:
    x = np.ones(shape)
    x[0, 1], x[1, 0] = np.inf, -np.inf
    return x


def rows_of(size: float) -> Make:
    """Normal rows of a size; one of them far from 0, one that cancels, one of zeros but for an element."""
    def make(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        x = generator.standard_normal(shape) * size
        x[1] += 2 * size
        x[2, ::2] = -x[2, 1::2]
        x[3] = 0
        x[3, 7] = size
        return x

    return make


def layer_norm(x: np.ndarray, epsilon: float) -> np.ndarray:
    deviation = np.sqrt(np.var(x, axis=-1, keepdims=True) + epsilon)
    return (x - np.mean(x, axis=-1, keepdims=True)) / deviation


def rms_norm(x: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + epsilon)


def norms() -> list[Sample]:
    found = []
    for name, formula in (("layer_norm", layer_norm), ("rms_norm", rms_norm)):
        function = getattr(tg, name)
        for size, epsilon in [*((s, 1e-5) for s in (1e18, 1e19, 1e25, 1e30, 3e37)), (1e-18, 0.0), (1e-23, 0.0), (1e-30, 0.0)]:
            for static, shape in (("", (4, S)), ("_static", (4, 700))):
                found.append(Sample(name, f"size_{size:.0e}{static}", lambda x, f=function, e=epsilon: f(x, epsilon=e),
                                    {"x": tg.f32[shape]}, lambda x, f=formula, e=epsilon: f(x, e), {"x": rows_of(size)},
                                    {"S": 1200}))
    return found


def angles() -> list[Sample]:
    sizes = (1.0, 1e5, 1e8, 1e12, 2.0**51, 1e20, 2.0**77, 1e30, 2.0**103, 3.4e38)
    feed = values(*(s * f for s in sizes for f in (0.3, -0.7, 0.999)), math.inf, -math.inf, math.nan)
    return [Sample(op, f"far_{d.name}", getattr(tg, op), {"x": d[33]}, formula, {"x": feed})
            for op, formula in (("sin", lambda x: np.exp(1j * x).imag), ("cos", lambda x: np.exp(1j * x).real))
            for d in (tg.f32, tg.f64)]


def literals() -> list[Sample]:
    """Numbers whose digits after the point say little."""
    numbers = (1e-20, 1 / 3, 1.0000000000000002, 6.02214076e23, -2.5e-300, 1e300)
    return [Sample("mul", "literals_f64", lambda x: tuple(x * n for n in numbers), {"x": tg.f64[5]},
                   lambda x: tuple(x * n for n in numbers))]


RANGE = [*sums(), *norms(), *angles(), *literals()]
