"""Strategies of views, slices and calls."""

from __future__ import annotations

import math
from typing import Any

from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.types import TensorType
from tgraph.testing.generator.maker import FLOATS, Maker, Skip, equal, is_bounded
from tgraph.testing.generator.written import written


@written
def reshape(m: Maker) -> Any:
    x = m.pick()
    kind = m.random.randrange(4)
    shape = list(x.shape)
    if kind == 0 or not shape:
        return m.b.reshape(x, shape=(x.type.size,))
    if kind == 1 and len(shape) > 1:  # two axes joined
        at = m.random.randrange(len(shape) - 1)
        return m.b.reshape(x, shape=(*shape[:at], shape[at] * shape[at + 1], *shape[at + 2:]))
    if kind == 2:  # one axis in two
        at = m.random.choice([i for i, d in enumerate(shape) if isinstance(d, int) and d] or [0])
        size = shape[at]
        if not isinstance(size, int) or not size:
            raise Skip("no axis to cut")
        part = m.random.choice([d for d in range(1, size + 1) if size % d == 0])
        return m.b.reshape(x, shape=(*shape[:at], part, size // part, *shape[at + 1:]))
    m.random.shuffle(shape)
    return m.b.reshape(x, shape=tuple(shape))


@written
def transpose(m: Maker) -> Any:
    x = m.pick()
    return m.b.transpose(x, perm=tuple(m.random.sample(range(x.type.rank), x.type.rank)))


@written
def expand(m: Maker) -> Any:
    x = m.pick()
    lead = tuple(m.random.choices(m.axes, k=m.random.choice((0, 0, 1))))
    return m.b.expand(x, shape=(*lead, *(m.random.choice(m.axes) if d == 1 and m.chance(0.7) else d for d in x.shape)))


@written
def squeeze(m: Maker) -> Any:
    x = m.pick(accept=lambda v: 1 in v.shape)
    axes = [i for i, d in enumerate(x.shape) if d == 1]
    return m.b.squeeze(x, axes=tuple(m.random.sample(axes, m.random.randint(1, len(axes)))))


@written
def unsqueeze(m: Maker) -> Any:
    x = m.pick(accept=lambda v: v.type.rank < 5)
    return m.b.unsqueeze(x, axes=tuple(m.random.sample(range(x.type.rank + 2), 2)) if m.chance(0.3) else (
        m.random.randint(0, x.type.rank),))


@written
def concat(m: Maker) -> Any:
    x = m.pick(least=1)
    axis = m.axis(x)
    at = axis % x.type.rank
    fits = [v for v in m.values if v.dtype == x.dtype and v.type.rank == x.type.rank and all(
        i == at or equal(v.shape[i:i + 1], x.shape[i:i + 1]) for i in range(x.type.rank))]
    size = m.random.choice((1, 2, *m.axes))
    other = m.random.choice(fits) if m.chance(0.6) else m.leaf(x.type.with_shape((*x.shape[:at], size, *x.shape[at + 1:])))
    parts = [x, other, *([m.random.choice(fits)] if m.chance(0.3) else [])]
    m.random.shuffle(parts)
    return m.b.concat(*parts, axis=axis)


@written
def split(m: Maker) -> Any:
    x = m.pick(least=1)
    axis = m.axis(x)
    size = x.shape[axis]
    if isinstance(size, int):
        cuts = sorted(m.random.randint(0, size) for _ in range(m.random.choice((1, 1, 2))))
        sizes: Any = tuple(b - a for a, b in zip((0, *cuts), (*cuts, size)))
        if size > 1 and size % 2 == 0 and m.chance(0.4):
            sizes = 2
    else:
        sizes = (1, size - 1)
        if not is_bounded(size, 1):
            raise Skip("may be negative")
    return m.b.split(x, sizes=sizes, axis=axis)


@written
def slice_(m: Maker) -> Any:
    x = m.pick(least=1)
    axis = m.axis(x)
    size = x.shape[axis]
    if m.chance(0.2):
        return m.b.slice(x, starts=(None,), stops=(None,), axes=(axis,), steps=(m.random.choice((-1, 2, -2, 3)),))
    if isinstance(size, int):
        start, stop = (m.random.choice((None, *range(-size - 1, size + 2))) for _ in range(2))
        return m.b.slice(x, starts=(start,), stops=(stop,), axes=(axis,), steps=(m.random.choice((1, 1, 1, 2, -1)),))
    low = 4 if is_bounded(size, 4) else 1 if is_bounded(size, 1) else 0
    start = m.random.choice((None, *range(low + 1)))
    stop = m.random.choice((None, *range(start or 0, low + 1), *((-1,) if low else ())))
    return m.b.slice(x, starts=(start,), stops=(stop,), axes=(axis,))


@written
def pad(m: Maker) -> Any:
    x = m.pick()
    sizes = [tuple(m.random.choice((0, 0, 1, 3)) for _ in x.shape) for _ in range(2)]
    value = m.random.choice((0, 1) if not x.dtype.is_float else (0.0, 1.0, -math.inf, -1e4))
    return m.b.pad(x, before=sizes[0], after=sizes[1], value=value)


@written
def call(m: Maker) -> Any:
    """A function of one or two operands, that other calls may share."""
    x = m.pick(FLOATS, accept=lambda v: v.type.rank > 0)
    shared = [f for f in m.graph.functions.values() if len(f.inputs) == 1 and f.inputs[0].type.rank == x.type.rank
              and f.inputs[0].dtype == x.dtype]
    if shared and m.chance(0.5):
        return m.b.call(x, function=m.random.choice(shared))
    function = Graph(f"f{len(m.graph.functions)}")
    inner = Builder(function)
    from tgraph.ir.dims import dim

    y = function.input("x", TensorType(x.dtype, tuple(dim(f"D{i}") for i in range(x.type.rank))))
    made = getattr(inner, m.random.choice(("exp", "tanh", "silu", "softmax", "relu")))(y)
    made = getattr(inner, m.random.choice(("add", "mul", "maximum")))(made, y) if m.chance(0.6) else made
    if m.chance(0.3):
        function.set_outputs([("a", made), ("b", inner.reduce_max(made, axes=(-1,), keepdims=True))])
    else:
        function.set_outputs([("a", made)])
    return m.b.call(x, function=function)
