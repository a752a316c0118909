"""Rotary position embedding: pairs of elements turned by an angle that depends on the position."""

from __future__ import annotations

import numpy as np

from ..ir.axis_maps import broadcast_map
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import broadcast, require_float, same_dtype
from ..ir.types import TensorType


@op(batched=True, precision="activation")
def rotary(x: TensorType, cos: TensorType, sin: TensorType, *, interleaved: bool = False) -> TensorType:
    """Turn each pair (x1, x2) of the last axis: (x1 cos - x2 sin, x2 cos + x1 sin) (RoFormer, arXiv:2104.09864).

    The pairs of x [..., D], D even, are an element of the first half and one of the second; interleaved: neighbours.
    cos and sin broadcast to x; their last axis is D/2, a number a pair, or D, a number an element. ONNX RotaryEmbedding.
    """
    require_float(x)
    same_dtype(x, cos, sin)
    width = x.shape[-1] if x.rank else 0
    if not isinstance(width, int) or not width or width % 2:
        raise RuleError(f"x needs an even last axis of known size, got {x}")
    for name, table in (("cos", cos), ("sin", sin)):
        if not table.rank or table.shape[-1] not in (width, width // 2):
            raise RuleError(f"the last axis of {name} must be {width} or {width // 2} for x {x}, got {table}")
        wide = table.with_shape((*table.shape[:-1], width))
        if broadcast(x, wide) != x.shape:
            raise RuleError(f"{name} must broadcast to x {x}, got {table}")
    return x


@rotary.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [(*broadcast_map(x.rank, result.rank)[:-1], None) for x in operands]


@rotary.reference
def _(x, cos, sin, *, interleaved):  # type: ignore[no-untyped-def]
    def whole(table):  # type: ignore[no-untyped-def]
        if table.shape[-1] == x.shape[-1]:
            return table
        return np.repeat(table, 2, axis=-1) if interleaved else np.concatenate([table, table], axis=-1)

    if interleaved:
        turned = np.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)
    else:
        turned = np.concatenate([-x[..., x.shape[-1] // 2:], x[..., :x.shape[-1] // 2]], axis=-1)
    return x * whole(cos) + turned * whole(sin)


@rotary.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 3 * results[0].size


@rotary.decomposition
def _(b, x, cos, sin, *, interleaved):  # type: ignore[no-untyped-def]
    pairs = x.shape[-1] // 2

    def parts(value):  # type: ignore[no-untyped-def]
        """The elements that are first in their pairs, and those that are second."""
        if value.shape[-1] == pairs:
            return value, value
        if not interleaved:
            return b.split(value, sizes=2)
        both = b.split(b.reshape(value, shape=(*value.shape[:-1], pairs, 2)), sizes=2)
        return tuple(b.squeeze(half, axes=(-1,)) for half in both)

    def together(first, second):  # type: ignore[no-untyped-def]
        if not interleaved:
            return b.concat(first, second, axis=-1)
        return b.reshape(b.concat(*[b.unsqueeze(v, axes=(-1,)) for v in (first, second)], axis=-1), shape=x.shape)

    first, second = parts(x)
    if pairs not in (cos.shape[-1], sin.shape[-1]):
        return b.add(b.mul(x, cos), b.mul(together(b.neg(second), first), sin))
    (cos1, cos2), (sin1, sin2) = parts(cos), parts(sin)
    return together(b.sub(b.mul(first, cos1), b.mul(second, sin1)), b.add(b.mul(second, cos2), b.mul(first, sin2)))
