"""Strategies of ops on elements, of what is made of sizes, and of lookups."""

from __future__ import annotations

import math
from typing import Any

from tgraph.ir.dtypes import bool_, f32, f64, i32, i64
from tgraph.testing.generator.maker import EVERY, FILLS, FLOATS, INTEGERS, NUMBERS, Maker, Skip, is_bounded
from tgraph.testing.generator.written import written


@written
def clip(m: Maker) -> Any:
    x = m.pick(NUMBERS)
    bounds = [-3, -1, 0, 1, 2, 6, 100] if x.dtype.kind != "uint" else [0, 1, 2, 100, 255]
    low, high = sorted(m.random.choices([*bounds, *((0.5, -math.inf, math.inf) if x.dtype.is_float else ())], k=2))
    return m.b.clip(x, min=low if m.chance(0.7) else None, max=high if m.chance(0.7) else None)


@written
def where(m: Maker) -> Any:
    x = m.pick()
    condition = m.beside(x, bool_)
    if x.dtype.is_float and m.chance(0.5):
        fill = m.graph.constant(m.random.choice(FILLS[x.dtype.name]), x.dtype)
        return m.b.where(condition, *((x, fill) if m.chance(0.7) else (fill, x)))
    return m.b.where(condition, x, m.beside(x))


@written
def cast(m: Maker) -> Any:
    return m.b.cast(m.pick(), dtype=m.random.choice(EVERY))


# Made of sizes

@written
def full(m: Maker) -> Any:
    dtype = m.dtype()
    value = m.random.choice((0, 1) if dtype.is_bool else (0, 1, 3, 100) if dtype.is_integer else (0.0, 1.0, -math.inf, 0.1, 3))
    return m.b.full(shape=m.shape(), value=value, dtype=dtype)


@written
def range_(m: Maker) -> Any:
    start = 0 if m.chance(0.7) else m.random.choice((-2, 1))
    stop = m.random.choice(m.axes)
    if not is_bounded(stop, start):
        raise Skip("may be negative")
    return m.b.range(start=start, stop=stop, dtype=m.dtype((*INTEGERS, f32, f64)))


@written
def dim_size(m: Maker) -> Any:
    a, c = m.random.choices(m.axes, k=2)
    return m.b.dim_size(size=m.random.choice((a, a * c, a + 2)), dtype=m.dtype((i32, i64, f32, f64)))


# Lookups

@written
def gather(m: Maker) -> Any:
    x = m.pick(least=1)
    axis = m.axis(x)
    indices = m.index(x.shape[axis])
    size = x.shape[axis]
    if isinstance(size, int) and indices.dtype.kind == "int" and m.chance(0.4):
        indices = m.b.sub(indices, size)
    return m.b.gather(x, indices, axis=axis)


@written
def embedding(m: Maker) -> Any:
    table = m.pick(least=1) if m.chance(0.5) else m.parameter(m.dtype(FLOATS), m.random.choice((1, 5, 32)), 8)
    return m.b.embedding(m.index(table.shape[0]), table)


@written
def one_hot(m: Maker) -> Any:
    return m.b.one_hot(m.pick(INTEGERS), depth=m.random.choice(m.axes), dtype=m.dtype())
