"""Idioms of memory that outlives a call: caches, running sums, what is written whole, only read, or exchanged."""

from __future__ import annotations

import math
from typing import Any

from tgraph.ir.dims import DimLike, dim, symbols
from tgraph.ir.dtypes import i64
from tgraph.ir.types import TensorType
from tgraph.ir.values import Result, Value
from tgraph.testing.generator.idioms import idiom, smooth
from tgraph.testing.generator.maker import EVERY, FLOATS, NUMBERS, Maker, Skip


def _sized(value: Value) -> bool:
    """Whether the sizes of a value are known before a call."""
    return not any(s.name.startswith("N") for d in value.shape for s in symbols(d))


def _write(m: Maker, state: Value, value: Value) -> None:
    m.written[state.name] = value  # type: ignore[attr-defined]  # of an Input


@idiom
def running(m: Maker) -> Any:
    """A state that each call changes element by element: a sum, a maximum, a mean that forgets."""
    b, x = m.b, m.pick(NUMBERS, accept=_sized)
    state = m.state(x.type.with_shape(x.shape))
    kinds = ["add", "maximum", "minimum", "sub"] + (["mean"] if x.dtype.is_float else [])
    kind = m.random.choice(kinds)
    made = b.add(b.mul(state, 0.9), b.mul(x, 0.1)) if kind == "mean" else getattr(b, kind)(state, x)
    _write(m, state, made)
    return [made, *([smooth(m, state)] if x.dtype.is_float and m.chance(0.4) else [])]


@idiom
def cache(m: Maker) -> Any:
    """Keys and values of earlier calls, and attention over them; the position is a state or an input."""
    b, dtype = m.b, m.dtype(FLOATS)
    batch, new = m.random.choice(m.axes), m.random.choice((1, 1, 2, 3))
    capacity: DimLike = m.random.choice((dim("C", min=4, max=33), 4, 17))
    kv, size = m.random.choice((1, 2)), m.random.choice((4, 8, 5))
    heads = kv * m.random.choice((1, 2))
    places = capacity - new + 1
    if m.chance(0.5):
        position = m.state(TensorType(i64, ()))
        start = b.mod(position, m.graph.constant(places, i64) if isinstance(places, int) else b.dim_size(size=places, dtype=i64))
        _write(m, position, b.add(start, new))
    else:
        start = m.index(places, ())
    kept = []
    for _ in range(2):
        state = m.state(TensorType(dtype, (batch, kv, capacity, size)))
        kept.append(b.update_slice(state, m.new(m.leaf(TensorType(dtype, (batch, kv, new, size)))), start, axis=2))
        _write(m, state, kept[-1])
    q = m.new(m.leaf(TensorType(dtype, (batch, heads, new, size))))
    if m.chance(0.7) and start.dtype == i64:
        return b.attention(q, *kept, None, None, start, causal=True)
    scores = b.mul(b.matmul(q, b.transpose(kept[0], perm=(0, 1, 3, 2))), 1 / math.sqrt(size))
    return b.matmul(b.softmax(scores), kept[1])


@idiom
def queue(m: Maker) -> Any:
    """The last few rows, which each call moves along: what convolutions over time keep."""
    x = m.pick(EVERY, least=1, accept=_sized)
    axis = m.axis(x)
    shape = list(x.shape)
    shape[axis] = m.random.choice((1, 2, 3))
    state = m.state(x.type.with_shape(tuple(shape)))
    joined = m.b.concat(state, x, axis=axis)
    size = joined.shape[axis]
    _write(m, state, m.b.slice(joined, starts=(size - shape[axis],), stops=(size,), axes=(axis,)))
    return joined


@idiom
def memory(m: Maker) -> Any:
    """A state that is only read, one that is written whole, or two that change places."""
    kind = m.random.randrange(3)
    if kind == 0:
        return m.state(m.pick(EVERY, accept=_sized).type)
    if kind == 1:
        found = [v for v in m.values if isinstance(v, Result) and _sized(v)]
        if not found:
            raise Skip("nothing to write")
        made = m.random.choice(found)
        name = f"s{len(m.graph.states)}"
        m.graph.state(name, made.type)
        m.written[name] = made
        return made
    x = m.pick(EVERY, accept=_sized)
    one, other = m.state(x.type), m.state(x.type)
    _write(m, one, other)
    _write(m, other, x if m.chance(0.3) else one)
    return [one, other]
