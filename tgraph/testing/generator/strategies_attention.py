"""Strategies of attention, of masks, and of padded and packed rows."""

from __future__ import annotations

from typing import Any

from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import bool_, i32, i64
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value
from tgraph.testing.generator.maker import FILLS, FLOATS, Maker, equal
from tgraph.testing.generator.written import written


def _heads(m: Maker, kv: int, heads: int, queries: DimLike, keys: DimLike, batch: DimLike) -> tuple[Value, ...]:
    dtype, size, width = m.dtype(FLOATS), m.random.choice((1, 4, 8, 5)), m.random.choice((1, 4, 8, 3))
    shapes = (batch, heads, queries, size), (batch, kv, keys, size), (batch, kv, keys, width)
    found = []
    for shape in shapes:
        same = [v for v in m.values if v.dtype == dtype and equal(v.shape, shape)]
        found.append(m.random.choice(same) if same and m.chance(0.7) else m.new(m.leaf(TensorType(dtype, shape))))
    return tuple(found)


@written
def attention(m: Maker) -> Any:
    batch, queries, keys = m.random.choices(m.axes, k=3)
    kv = m.random.choice((1, 2))
    heads = kv * m.random.choice((1, 1, 2, 3))
    q, k, v = _heads(m, kv, heads, queries, queries if m.chance(0.3) else keys, batch)
    full = (batch, heads, queries, k.shape[2])
    mask = bias = offset = None
    if m.chance(0.6):
        mask = m.leaf(TensorType(bool_, m.random.choice((
            (batch, full[3]), (batch, queries, full[3]), tuple(1 if m.chance(0.4) else d for d in full)))))
    if m.chance(0.4):
        bias = m.leaf(TensorType(q.dtype, m.part(full)))
        if m.chance(0.4):
            hidden = m.leaf(TensorType(bool_, bias.shape))
            bias = m.b.where(hidden, bias, m.graph.constant(m.random.choice(FILLS[q.dtype.name]), q.dtype))
    causal = m.chance(0.4)
    window = _window(m)
    if (causal or window != (-1, -1)) and m.chance(0.4):
        offset = m.leaf(TensorType(i64, (), (-3, 9)))
    return m.b.attention(q, k, v, mask, bias, offset, causal=causal, scale=m.random.choice((None, None, 0.3, 1.0)),
                         softcap=_softcap(m), window=window, empty_row=m.random.choice(("zero", "uniform", "nan")))


def _window(m: Maker) -> tuple[int, int]:
    return (-1, -1) if m.chance(0.6) else (m.random.choice((-1, 0, 2, 20)), m.random.choice((-1, 0, 3)))


def _softcap(m: Maker) -> float:
    return m.random.choice((0.0, 0.0, 0.5, 30.0))


def _mask(m: Maker) -> Value:
    return m.leaf(TensorType(bool_, (m.random.choice(m.axes), m.random.choice(m.axes))))


def _packed(m: Maker) -> tuple[Value, Value, Value]:
    """A mask, and the positions and offsets that it unpacks to."""
    mask = _mask(m)
    m.counts += 1
    return (mask, *m.b.unpack(mask, name=f"N{m.counts}"))


@written
def unpack(m: Maker) -> Any:
    return _packed(m)[1:]


@written
def number_rows(m: Maker) -> Any:
    return m.b.number_rows(m.pick((bool_,)))


@written
def zero_padding(m: Maker) -> Any:
    x = m.pick(least=1)
    return m.b.zero_padding(x, m.leaf(TensorType(bool_, x.shape[:min(2, x.type.rank)])))


@written
def pad_rows(m: Maker) -> Any:
    if m.chance(0.5):  # rows taken and put back
        mask, indices, _ = _packed(m)
        rows = m.b.gather(m.leaf(TensorType(m.dtype(), (mask.type.size, *m.shape()[:1]))), indices)
        return m.b.pad_rows(m.b.mul(rows, rows) if rows.dtype in FLOATS else rows, m.b.number_rows(mask))
    x = m.pick(least=1, accept=lambda v: v.type.rank > 0 and isinstance(v.shape[0], int))
    positions = m.b.clip(m.leaf(TensorType(m.random.choice((i32, i64)), m.shape())), min=0, max=x.shape[0])
    return m.b.pad_rows(x, m.b.sub(positions, 1))


@written
def ragged_attention(m: Maker) -> Any:
    mask, indices, offsets = _packed(m)
    kv = m.random.choice((1, 2))
    heads, dtype = kv * m.random.choice((1, 2)), m.dtype(FLOATS)
    sizes = m.random.choice((4, 8)), m.random.choice((3, 8))
    rows = [m.b.gather(m.leaf(TensorType(dtype, (mask.type.size, h, d))), indices)
            for h, d in ((heads, sizes[0]), (kv, sizes[0]), (kv, sizes[1]))]
    seen = m.b.gather(m.leaf(TensorType(bool_, (mask.type.size,))), indices) if m.chance(0.4) else None
    return m.b.ragged_attention(*rows, offsets, seen, causal=m.chance(0.4), softcap=_softcap(m), window=_window(m),
                                empty_row=m.random.choice(("zero", "uniform", "nan")))


@written
def rotary(m: Maker) -> Any:
    x = m.pick(FLOATS, least=1)
    width = x.shape[-1]
    if not isinstance(width, int) or width % 2 or not width:
        x = m.new(m.leaf(TensorType(x.dtype, (*m.shape()[:2], 8))))
        width = 8
    table = (*m.part(x.shape[:-1]), width if m.chance(0.5) else width // 2)
    cos, sin = (m.leaf(TensorType(x.dtype, table)) for _ in range(2))
    return m.b.rotary(x, cos, sin, interleaved=m.chance(0.5))
