"""How each op is applied at random: derived from its type rule where it is elementwise, written down where it is not.

`strategy(op)` raises LookupError for an op that has none: a new op is not forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tests.fuzz.maker import (
    EVERY,
    FILLS,
    FLOATS,
    INTEGERS,
    NUMBERS,
    Maker,
    Skip,
    accepted,
    broadcasts,
    equal,
    is_bounded,
    is_static,
)
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import bf16, bool_, f16, f32, f64, i8, i32, i64, u8
from tgraph.ir.graph import Graph
from tgraph.ir.registry import REQUIRED, Op
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value

Strategy = Callable[[Maker], Any]

# What the optional attributes of ops with a derived strategy may be.
CHOICES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "gelu": {"approximate": ("none", "tanh")}, "leaky_relu": {"alpha": (0.01, 0.3, 0.0, 1.0, -0.5, 2.0)},
}
WRITTEN: dict[str, Strategy] = {}


def written(function: Strategy) -> Strategy:
    """Register the strategy of the op of that name."""
    WRITTEN[function.__name__.rstrip("_")] = function
    return function


def strategy(op: Op) -> Strategy:
    """How to apply the op to values of a Maker. Raises LookupError if neither the rule nor this file says it."""
    if op.name in WRITTEN:
        return WRITTEN[op.name]
    choices = CHOICES.get(op.name, {})
    known = all(default is not REQUIRED and name in choices for name, default in op.attributes.items())
    types = accepted(op.infer, len(op.operands)) if known and op.elementwise and not op.variadic else []
    if not types:
        raise LookupError(f"op {op.name} has no strategy: write one in tests/fuzz/strategies.py, with all its attributes")

    def derived(m: Maker) -> Any:
        x = m.pick(types)
        others = [m.beside(x) for _ in op.operands[1:]]
        operands = [x, *others]
        if m.chance(0.3):
            m.random.shuffle(operands)
        return m.b.apply(op, operands, {name: m.random.choice(c) for name, c in choices.items() if m.chance(0.6)})

    return derived


# Elementwise, with more to say

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


# Products

@written
def matmul(m: Maker) -> Any:
    x = m.pick(NUMBERS, least=2)
    fits = [v for v in m.values if v.dtype == x.dtype and v.type.rank >= 2 and equal(v.shape[-2:-1], x.shape[-1:])
            and broadcasts(v.shape[:-2], x.shape[:-2])]
    if fits and m.chance(0.6):
        return m.b.matmul(x, m.random.choice(fits))
    if m.chance(0.3):
        perm = (*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2)
        return m.b.matmul(x, m.b.transpose(m.like(x), perm=perm))
    lead = m.part(x.shape[:-2]) if m.chance(0.5) else ()
    return m.b.matmul(x, m.leaf(TensorType(x.dtype, (*lead, x.shape[-1], m.random.choice(m.axes)))))


@written
def linear(m: Maker) -> Any:
    x = m.pick(NUMBERS, least=1)
    rows = m.random.choice(m.axes)
    weight = m.leaf(TensorType(x.dtype, (rows, x.shape[-1])))
    return m.b.linear(x, weight, m.leaf(TensorType(x.dtype, (rows,))) if m.chance(0.5) else None)


@written
def einsum(m: Maker) -> Any:
    x = m.pick(NUMBERS, least=1)
    letters = "abcdef"[:x.type.rank]
    y_letters = "".join(m.random.sample(letters, m.random.randint(0, len(letters)))) + m.random.choice(("", "z"))
    sizes = dict(zip(letters, x.shape)) | {"z": m.random.choice(m.axes)}
    y = m.leaf(TensorType(x.dtype, tuple(sizes[c] for c in y_letters)))
    every = sorted({*letters, *y_letters})
    result = "".join(m.random.sample(every, m.random.randint(0, min(len(every), 4))))
    return m.b.einsum(x, y, equation=f"{letters},{y_letters}->{result}")


@written
def integer_linear(m: Maker) -> Any:
    x = m.pick((i8, u8), least=1)
    return m.b.integer_linear(x, m.leaf(TensorType(i8, (m.random.choice(m.axes), x.shape[-1]))))


@written
def quantize_rows(m: Maker) -> Any:
    return m.b.quantize_rows(m.pick((f16, bf16, f32), least=1))


@written
def pack_panels(m: Maker) -> Any:
    weight = m.pick(NUMBERS, accept=lambda v: v.type.rank == 2)
    return m.b.pack_panels(weight, width=m.random.choice((1, 2, 4, 16)), group=m.random.choice((1, 1, 2, 4)))


@written
def unpack_panels(m: Maker) -> Any:
    weight = m.pick(NUMBERS, accept=lambda v: v.type.rank == 2 and is_static(v) and 0 not in v.shape)
    rows, depth = weight.shape
    panels = m.b.pack_panels(weight, width=m.random.choice((2, 4)), group=m.random.choice((1, 4)))
    return m.b.unpack_panels(panels, rows=rows, depth=depth if panels.type.rank == 4 else None)


# Norms

@written
def softmax(m: Maker) -> Any:
    x = m.pick(FLOATS, least=1)
    return m.b.softmax(x, axis=m.axis(x))


@written
def log_softmax(m: Maker) -> Any:
    x = m.pick(FLOATS, least=1)
    return m.b.log_softmax(x, axis=m.axis(x))


def _affine(m: Maker, x: Value) -> Value | None:
    return m.leaf(TensorType(x.dtype, (x.shape[-1],))) if m.chance(0.5) else None


@written
def layer_norm(m: Maker) -> Any:
    x = m.pick(FLOATS, least=1)
    return m.b.layer_norm(x, _affine(m, x), _affine(m, x), epsilon=m.random.choice((1e-5, 1e-12, 0.5)))


@written
def rms_norm(m: Maker) -> Any:
    x = m.pick(FLOATS, least=1)
    return m.b.rms_norm(x, _affine(m, x), epsilon=m.random.choice((1e-6, 1e-3)))


# Attention

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
    if causal and m.chance(0.4):
        offset = m.leaf(TensorType(i64, (), (-3, 9)))
    return m.b.attention(q, k, v, mask, bias, offset, causal=causal, scale=m.random.choice((None, None, 0.3, 1.0)),
                         empty_row=m.random.choice(("zero", "uniform", "nan")))


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
    return m.b.ragged_attention(*rows, offsets, seen, causal=m.chance(0.4), empty_row=m.random.choice(("zero", "uniform", "nan")))


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


# Reductions

def _reduction(name: str, types: tuple[Any, ...]) -> None:
    def apply(m: Maker) -> Any:
        x = m.pick(types)
        axes = None if m.chance(0.15) else tuple(m.random.sample(range(x.type.rank), m.random.randint(min(1, x.type.rank),
                                                                                                      x.type.rank)))
        return getattr(m.b, name)(x, axes=axes, keepdims=m.chance(0.5))

    WRITTEN[name] = apply


for _name in ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod"):
    _reduction(_name, NUMBERS)
_reduction("reduce_mean", FLOATS)


@written
def argmax(m: Maker) -> Any:
    x = m.pick(NUMBERS, least=1)
    return m.b.argmax(x, axis=m.axis(x), keepdims=m.chance(0.5))


@written
def cumsum(m: Maker) -> Any:
    x = m.pick(NUMBERS, least=1)
    return m.b.cumsum(x, axis=m.axis(x), exclusive=m.chance(0.4))


# Shapes

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
