"""Pieces of several ops, as models have them: chains, diamonds, norms and softmaxes by hand, positions, masks, recurrences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tgraph.ir.dtypes import bool_, f32, i32, i64
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value
from tgraph.testing.generator.maker import EVERY, FILLS, FLOATS, INTEGERS, Maker, Skip, is_bounded
from tgraph.testing.generator.pieces import Pieces

IDIOMS: dict[str, Callable[[Maker], Any]] = {}
SMOOTH = ("tanh", "sigmoid", "gelu", "silu", "softplus", "erf", "sin", "cos", "quick_gelu", "relu", "abs", "neg", "leaky_relu")


def idiom(function: Callable[[Maker], Any]) -> Callable[[Maker], Any]:
    """Register a piece under the function's name."""
    IDIOMS[function.__name__] = function
    return function


def smooth(m: Maker, x: Value) -> Value:
    """One function whose results stay in range."""
    return getattr(m.b, m.random.choice(SMOOTH))(x)


@idiom
def chain(m: Maker) -> Any:
    """One function after another, each value read once."""
    x = m.pick(FLOATS)
    for _ in range(m.random.randint(3, 12)):
        x = smooth(m, x) if m.chance(0.8) else getattr(m.b, m.random.choice(("exp", "log", "sqrt", "square", "rsqrt")))(x)
    return x


@idiom
def diamonds(m: Maker) -> Any:
    """Each value read two or three times: what is expanded as a tree doubles at each step."""
    x = m.pick(FLOATS)
    made = []
    for _ in range(m.random.randint(2, 7)):
        y = smooth(m, x)
        y = getattr(m.b, m.random.choice(("add", "sub", "mul", "maximum")))(x, y)
        x = m.b.mul(y, smooth(m, y)) if m.chance(0.3) else y
        made.append(x)
    return [x, *([m.random.choice(made)] if m.chance(0.3) else [])]


@idiom
def horner(m: Maker) -> Any:
    x = m.pick(FLOATS)
    y = m.b.mul(x, m.random.uniform(-1, 1))
    for _ in range(m.random.randint(2, 8)):
        y = m.b.mul(m.b.add(y, m.random.uniform(-1, 1)), x)
    return y


@idiom
def norm_by_hand(m: Maker) -> Any:
    x = m.pick(FLOATS, least=1)
    axes = (m.axis(x),)
    d = m.b.sub(x, m.b.reduce_mean(x, axes=axes, keepdims=True))
    variance = m.b.reduce_mean(m.b.mul(d, d) if m.chance(0.5) else m.b.square(d), axes=axes, keepdims=True)
    root = m.b.add(variance, 1e-3)
    y = m.b.div(d, m.b.sqrt(root)) if m.chance(0.5) else m.b.mul(d, m.b.rsqrt(root))
    return [y, smooth(m, y) if m.chance(0.7) else y]


@idiom
def softmax_by_hand(m: Maker) -> Any:
    x = m.pick(FLOATS, least=1)
    axes = (m.axis(x),)
    shifted = m.b.sub(x, m.b.reduce_max(x, axes=axes, keepdims=True))
    e = m.b.exp(shifted)
    total = m.b.reduce_sum(e, axes=axes, keepdims=True)
    return m.b.div(e, total) if m.chance(0.6) else m.b.sub(shifted, m.b.log(total))


@idiom
def activation_by_hand(m: Maker) -> Any:
    x, b = m.pick(FLOATS), m.b
    kind = m.random.randrange(4)
    if kind == 0:
        return b.mul(b.mul(x, 0.5), b.add(b.erf(b.mul(x, math.sqrt(0.5))), 1.0))
    if kind == 1:
        return b.mul(x, b.tanh(b.softplus(x)))  # mish
    if kind == 2:
        return b.log(b.add(b.exp(x), 1.0))
    return b.div(x, b.add(b.exp(b.neg(x)), 1.0))


@idiom
def float_identities(m: Maker) -> Any:
    """What algebra of the reals would simplify, and floats do not."""
    x, b = m.pick(FLOATS), m.b
    y = m.beside(x)
    big = m.graph.constant(m.random.choice((1e8, 1e4, 1.0, 3e38 if x.dtype.itemsize > 2 else 6e4)), x.dtype)
    return m.random.choice((
        lambda: b.sub(x, x), lambda: b.mul(x, 0.0), lambda: b.div(m.graph.constant(0.0, x.dtype), x), lambda: b.equal(x, x),
        lambda: b.not_equal(x, x), lambda: b.where(b.not_equal(x, x), m.graph.constant(0.0, x.dtype), x), lambda: b.div(x, x),
        lambda: b.sub(b.add(x, y), x), lambda: b.sub(b.add(x, big), big), lambda: b.less_or_equal(x, x), lambda: b.add(x, 0.0),
        lambda: b.maximum(x, x), lambda: b.sub(b.mul(x, y), b.mul(x, y)), lambda: b.minimum(b.maximum(x, y), y),
        lambda: b.logical_not(b.less(x, y)), lambda: b.div(b.mul(x, y), y), lambda: b.neg(b.sub(x, y)),
        lambda: b.mod(x, m.graph.constant(m.random.choice((3.0, -2.5, math.inf)), x.dtype))))()


def positions(m: Maker) -> Value:
    return m.b.range(stop=m.random.choice(m.axes), dtype=m.random.choice((i32, i64)))


@idiom
def angles(m: Maker) -> Any:
    """Rotary angles or sinusoids, from positions, in the graph."""
    b, dtype, half = m.b, m.random.choice((f32, f32, m.float)), m.random.choice((1, 2, 4, 8))
    steps = b.cast(b.range(stop=half), dtype=dtype)
    theta = b.pow(m.graph.constant(10000.0, dtype), b.neg(b.div(steps, float(half)))) if m.chance(0.5) else b.exp(
        b.mul(steps, -math.log(100.0) / half))
    angle = b.mul(b.unsqueeze(b.cast(positions(m), dtype=dtype), axes=(1,)), theta)
    cos, sin = b.cos(angle), b.sin(angle)
    if m.chance(0.3):
        return b.concat(sin, cos, axis=-1)
    length = angle.shape[0]
    x = m.new(m.leaf(TensorType(dtype, (m.random.choice(m.axes), length, 2 * half))))
    if m.chance(0.5):
        return b.rotary(x, cos, sin, interleaved=m.chance(0.3))
    first, second = b.split(x, sizes=2)
    twice = b.concat(cos, cos, axis=-1), b.concat(sin, sin, axis=-1)
    return b.add(b.mul(x, twice[0]), b.mul(b.concat(b.neg(second), first, axis=-1), twice[1]))


@idiom
def relative_buckets(m: Maker) -> Any:
    """T5's buckets of distances, and the bias that they look up."""
    b, buckets = m.b, m.random.choice((8, 32))
    dtype = m.random.choice((i32, i64))
    rows, columns = (b.range(stop=m.random.choice(m.axes), dtype=dtype) for _ in range(2))
    distance = b.sub(b.unsqueeze(columns, axes=(0,)), b.unsqueeze(rows, axes=(1,)))
    n, shift = b.neg(distance), None
    if m.chance(0.6):
        shift = b.mul(b.cast(b.less(n, 0), dtype=dtype), buckets // 2)
        n = b.abs(n)
    else:
        n = b.maximum(n, 0)
    exact = buckets // 4
    far = b.add(b.cast(b.mul(b.div(b.log(b.div(b.cast(n, dtype=f32), float(exact))), math.log(16.0)), float(exact)), dtype=dtype),
                exact)
    bucket = b.where(b.less(n, exact), n, b.minimum(far, buckets // 2 - 1))
    bucket = bucket if shift is None else b.add(bucket, shift)
    return [bucket, b.transpose(b.embedding(bucket, m.parameter(m.float, buckets, 2)), perm=(2, 0, 1))]


@idiom
def masked_scores(m: Maker) -> Any:
    """softmax(where(mask, q k^T, fill) + bias) v, as it is written in models; scores may be capped."""
    b, dtype = m.b, m.dtype(FLOATS)
    batch, queries, keys = m.random.choices(m.axes, k=3)
    size = m.random.choice((1, 4, 8))
    q = m.new(m.leaf(TensorType(dtype, (batch, queries, size))))
    k, v = (m.new(m.leaf(TensorType(dtype, (batch, keys, size)))) for _ in range(2))
    scores = b.mul(b.matmul(q, b.transpose(k, perm=(0, 2, 1))), 1 / math.sqrt(size))
    if m.chance(0.3):
        cap = m.random.choice((0.5, 30.0))
        scores = b.mul(b.tanh(b.div(scores, cap)), cap)
    fill = m.random.choice(FILLS[dtype.name])
    kind = m.random.randrange(4)
    if m.chance(0.3):
        bias = m.leaf(TensorType(dtype, (queries, keys)))
        hidden = m.leaf(TensorType(bool_, (batch, queries, keys)))
        scores = b.add(scores, b.where(hidden, bias, m.graph.constant(fill, dtype)) if m.chance(0.6) else bias)
    if kind == 0:
        rows, columns = (b.range(stop=s) for s in (queries, keys))
        mask = b.less_or_equal(b.unsqueeze(columns, axes=(0,)), b.unsqueeze(rows, axes=(1,)))
        scores = b.where(mask, scores, m.graph.constant(fill, dtype))
    elif kind == 1:
        mask = b.unsqueeze(m.leaf(TensorType(bool_, (batch, keys))), axes=(1,))
        scores = b.where(mask, scores, m.graph.constant(fill, dtype))
    elif kind == 2:
        mask = b.cast(b.unsqueeze(m.leaf(TensorType(bool_, (batch, keys))), axes=(1,)), dtype=dtype)
        scores = b.add(scores, b.mul(b.sub(m.graph.constant(1.0, dtype), mask), max(fill, -1e4)))
    weights = b.softmax(scores)
    return [weights, b.matmul(weights, v)]


@idiom
def views_of_concats(m: Maker) -> Any:
    """A slice of a concat, read as it is and through a product."""
    b = m.b
    x = m.pick(FLOATS, accept=lambda v: v.type.rank in (2, 3) and v.shape[-2] != 0)
    axis = -2 if m.chance(0.7) else -1
    extra = x.type.with_shape(tuple(m.random.choice((1, 3)) if i == x.type.rank + axis else d for i, d in enumerate(x.shape)))
    joined = b.concat(m.leaf(extra), x, axis=axis)
    size = x.shape[axis]
    y = b.slice(joined, starts=(0,), stops=(size,), axes=(axis,))
    if m.chance(0.3):
        y = b.transpose(b.transpose(y)) if m.chance(0.5) else b.reshape(y, shape=x.shape)
    width = y.shape[-1]
    return [y, b.add(y, b.linear(y, m.leaf(TensorType(x.dtype, (width, width))))) if m.chance(0.6) else b.add(y, smooth(m, x))]


@idiom
def recurrence(m: Maker) -> Any:
    """A cell unrolled over a static axis."""
    b, dtype, size = m.b, m.dtype(FLOATS), m.random.choice((1, 4, 8))
    steps, batch = m.random.choice((2, 3, 4)), m.random.choice(m.axes)
    x = m.new(m.leaf(TensorType(dtype, (batch, steps, size))))
    w, u = m.parameter(dtype, size, size), m.parameter(dtype, size, size)
    h = b.full(shape=(batch, size), value=0.0, dtype=dtype)
    made = []
    for t in range(steps):
        now = b.squeeze(b.slice(x, starts=(t,), stops=(t + 1,), axes=(1,)), axes=(1,))
        z = b.sigmoid(b.add(b.linear(now, w), b.linear(h, u)))
        h = b.add(b.mul(z, h), b.mul(b.sub(1.0, z), b.tanh(now)))
        made.append(h)
    return [h, b.concat(*[b.unsqueeze(v, axes=(1,)) for v in made], axis=1)]


@idiom
def casts(m: Maker) -> Any:
    """There, on, and back again."""
    x = m.pick()
    y = x
    for _ in range(m.random.randint(1, 3)):
        y = m.b.cast(smooth(m, y) if y.dtype.is_float and m.chance(0.4) else y, dtype=m.random.choice(EVERY))
    return [y, m.b.cast(y, dtype=x.dtype)]


@idiom
def integer_arithmetic(m: Maker) -> Any:
    """Quotients and remainders by what may be 0 or -1, absolute values read twice."""
    b, x = m.b, m.pick(INTEGERS)
    for _ in range(m.random.randint(1, 4)):
        y = m.beside(x)
        x = getattr(b, m.random.choice(("div", "floor_div", "mod", "add", "sub", "mul", "maximum", "minimum")))(x, y)
        if m.chance(0.4):
            a = b.abs(x)
            x = b.where(b.less(a, 5), a, b.floor_div(a, 2)) if m.chance(0.5) else b.sub(a, x)
        if m.chance(0.2):
            x = getattr(b, m.random.choice(("neg", "sign", "square")))(x)
    return x


@idiom
def guarded_division(m: Maker) -> Any:
    """x / y where y is not 0, another value elsewhere."""
    b = m.b
    x = m.pick((*INTEGERS, *FLOATS))
    y = m.beside(x)
    quotient = getattr(b, m.random.choice(("div", "floor_div", "mod")))(x, y)
    zero = m.graph.constant(0, x.dtype)
    return b.where(b.not_equal(y, zero), quotient, zero)


@idiom
def heads(m: Maker) -> Any:
    """Projections cut into heads, attention, and the heads joined again."""
    b, dtype = m.b, m.dtype(FLOATS)
    count, size = m.random.choice((1, 2, 4)), m.random.choice((1, 4, 8))
    batch, length = m.random.choices(m.axes, k=2)
    x = m.new(m.leaf(TensorType(dtype, (batch, length, count * size))))
    parts = [b.linear(x, m.parameter(dtype, count * size, count * size)) for _ in range(3)]
    q, k, v = (b.transpose(b.reshape(p, shape=(batch, length, count, size)), perm=(0, 2, 1, 3)) for p in parts)
    mask = m.leaf(TensorType(bool_, (batch, length))) if m.chance(0.5) else None
    y = b.attention(q, k, v, mask, causal=m.chance(0.4), empty_row=m.random.choice(("zero", "uniform", "nan")))
    return b.add(x, b.reshape(b.transpose(y, perm=(0, 2, 1, 3)), shape=x.shape))


@idiom
def model(m: Maker) -> Any:
    """What passes are made for (`pieces.py`), on values f32[B, S, 8] of its own."""
    if m.model is None:
        m.model = Pieces(m.random, m.graph)
    before = len(m.model.values)
    for _ in range(m.random.randint(1, 3)):
        m.model.piece()
    return m.model.values[before:]


@idiom
def counted(m: Maker) -> Any:
    """Selections by sums of masks and ranks of elements."""
    b = m.b
    x = m.pick(FLOATS, least=1)
    mask = b.greater(x, m.beside(x))
    counts = b.cumsum(b.cast(mask, dtype=m.random.choice((i32, i64, f32))), axis=-1)
    best = b.argmax(x, axis=-1, keepdims=True)
    if not is_bounded(x.shape[-1], 1):
        raise Skip("nothing to take the best of")
    return [counts, b.equal(best, b.cast(b.range(stop=x.shape[-1]), dtype=i64))]

