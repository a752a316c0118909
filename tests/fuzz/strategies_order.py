"""Strategies of sorting, and of reading and writing along an axis by number."""

from __future__ import annotations

from typing import Any

from tests.fuzz.maker import NUMBERS, Maker, Skip, elements, is_bounded
from tests.fuzz.written import written
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value

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
def scatter(m: Maker) -> Any:
    reduction = m.random.choice(("none", "none", "add", "mul", "max", "min"))
    x, axis = _along(m, None if reduction == "none" else NUMBERS)
    indices = _indices(m, x, axis)
    updates = m.leaf(TensorType(x.dtype, indices.shape))
    return m.b.scatter(x, indices, updates, axis=axis, reduction=reduction)
