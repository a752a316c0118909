"""Strategies of products, norms and reductions."""

from __future__ import annotations

from typing import Any

from tgraph.ir.dtypes import bf16, f16, f32, i8, u8
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value
from tgraph.testing.generator.maker import FLOATS, NUMBERS, Maker, broadcasts, equal, is_static
from tgraph.testing.generator.written import WRITTEN, written


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
def quantize_blocks(m: Maker) -> Any:
    weight = m.leaf(TensorType(m.random.choice((f16, bf16, f32)), (m.random.choice(m.axes), m.random.choice((1, 5, 33)))))
    return m.b.quantize_blocks(weight, block=m.random.choice((1, 3, 16)), bits=m.random.choice((2, 4, 8)))


@written
def dequantize(m: Maker) -> Any:
    bits, block, depth, rows = m.random.choice((2, 4, 8)), m.random.choice((1, 3, 16)), m.random.choice((1, 5, 33)), 4
    packed = m.leaf(TensorType(u8, (rows, -(-depth * bits // 8))))
    scale = m.leaf(TensorType(m.random.choice((f16, bf16, f32)), (rows, -(-depth // block))))
    zero = m.leaf(scale.type) if m.random.random() < 0.5 else None
    return m.b.dequantize(packed, scale, zero, depth=depth, block=block, bits=bits)


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
