"""Strategies of sorting, and of reading and writing along an axis by number."""

from __future__ import annotations

from typing import Any

from tgraph.ir.dtypes import i64
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value
from tgraph.testing.generator.maker import EVERY, NUMBERS, Maker, Skip, elements, is_bounded
from tgraph.testing.generator.written import written

WORK = 400_000  # comparisons: these ops compare all elements of an axis with all


def _along(m: Maker, among: Any = None) -> tuple[Value, int]:
    """A value and one of its axes, which is not too long."""
    x = m.pick(least=1) if among is None else m.pick(among, least=1)
    axis = m.axis(x)
    if elements(x.shape) * elements((x.shape[axis],)) > WORK:
        raise Skip("too much work")
    return x, axis


@written
def argsort(m: Maker) -> Any:
    x, axis = _along(m)
    return m.b.argsort(x, axis=axis, descending=m.chance(0.5))


@written
def topk(m: Maker) -> Any:
    x, axis = _along(m)
    choices = [k for k in (0, 1, 1, 2, 3, 5, 8, 17) if is_bounded(x.shape[axis], k)]
    return m.b.topk(x, k=m.choice(choices), axis=axis, largest=m.chance(0.6))


def _indices(m: Maker, x: Value, axis: int) -> Value:
    shape = list(x.shape)
    shape[axis] = m.random.choice((*m.axes, 1, 2, x.shape[axis]))
    if elements(tuple(shape)) * elements((x.shape[axis],)) > WORK:
        raise Skip("too much work")
    indices = m.index(x.shape[axis], tuple(shape))
    size = x.shape[axis]
    return m.b.sub(indices, size) if isinstance(size, int) and indices.dtype.kind == "int" and m.chance(0.4) else indices


@written
def take_along_axis(m: Maker) -> Any:
    x, axis = _along(m)
    return m.b.take_along_axis(x, _indices(m, x, axis), axis=axis)


@written
def update_slice(m: Maker) -> Any:
    x = m.pick(EVERY, least=1)
    axis = m.axis(x)
    size = x.shape[axis]
    part = m.random.randint(0, min(size, 3)) if isinstance(size, int) else m.random.choice((0, size))
    shape = list(x.shape)
    shape[axis] = part
    value = m.leaf(TensorType(x.dtype, tuple(shape)))
    return m.b.update_slice(x, value, m.index(size - part + 1, ()), axis=axis)


@written
def update_in_place(m: Maker) -> Any:
    x = m.pick(EVERY, least=1)
    return m.b.update_in_place(x, m.like(x), m.b.constant(0, i64), axis=m.axis(x))


@written
def scatter(m: Maker) -> Any:
    reduction = m.random.choice(("none", "none", "add", "mul", "max", "min"))
    x, axis = _along(m, None if reduction == "none" else NUMBERS)
    indices = _indices(m, x, axis)
    updates = m.leaf(TensorType(x.dtype, indices.shape))
    return m.b.scatter(x, indices, updates, axis=axis, reduction=reduction)
