"""What each op means in PyTorch, floats in float64.

Written from the ops' documentation (docs/ops.md), not from their NumPy meaning.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

AVAILABLE = importlib.util.find_spec("torch") is not None
if AVAILABLE:
    import torch
    import torch.nn.functional as F

RUN: dict[str, Callable[..., Any]] = {}


def meaning(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register what the op of that name means."""
    RUN[function.__name__.rstrip("_")] = function
    return function


def number(x: Any, value: float) -> Any:
    return torch.tensor(value, dtype=x.dtype)


if AVAILABLE:
    RUN.update({
        "add": torch.add, "sub": torch.sub, "mul": torch.mul, "pow": torch.pow, "maximum": torch.maximum,
        "minimum": torch.minimum, "neg": torch.neg,
        "sign": lambda x: torch.where(x != x, x, torch.sgn(x)), "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt,
        "rsqrt": lambda x: 1 / torch.sqrt(x), "reciprocal": torch.reciprocal, "square": lambda x: x * x, "sin": torch.sin,
        "cos": torch.cos, "erf": torch.erf, "tanh": torch.tanh, "floor": torch.floor, "ceil": torch.ceil, "round": torch.round,
        "abs": lambda x: x if x.dtype == torch.uint8 else torch.abs(x),
        "relu": torch.relu, "sigmoid": torch.sigmoid, "silu": F.silu, "softplus": lambda x: torch.logaddexp(x, number(x, 0.0)),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "gelu": lambda x, approximate: F.gelu(x, approximate=approximate),
        "leaky_relu": lambda x, alpha: torch.where(x < 0, alpha * x, x),  # PyTorch's own takes alpha x of 0.0
        "equal": torch.eq, "not_equal": torch.ne, "less": torch.lt,
        "less_or_equal": torch.le, "greater": torch.gt, "greater_or_equal": torch.ge, "logical_and": torch.logical_and,
        "logical_or": torch.logical_or, "logical_xor": torch.logical_xor, "logical_not": torch.logical_not, "isnan": torch.isnan,
        "isinf": torch.isinf, "where": torch.where, "reshape": lambda x, shape: x.reshape(shape),
        "transpose": lambda x, perm: x.permute(perm), "expand": lambda x, shape: x.expand(shape),
        "squeeze": lambda x, axes: x.squeeze(axes), "concat": lambda *xs, axis: torch.cat(xs, axis),
        "split": lambda x, sizes, axis: torch.split(x, list(sizes), axis), "linear": lambda x, w, b: product(x, w.T, b),
        "matmul": lambda x, y: product(x, y),
        "softmax": lambda x, axis: torch.softmax(x, axis), "log_softmax": lambda x, axis: torch.log_softmax(x, axis),
        "integer_linear": lambda x, w: (x.to(torch.int32)[..., None, :] * w.to(torch.int32)).sum(-1, dtype=torch.int32),
        "embedding": lambda i, table: table[i.long()], "dim_size": lambda size, dtype: torch.tensor(size).to(dtype),
        "full": lambda shape, value, dtype: torch.full(shape, value, dtype=dtype),
        "range": lambda stop, start, dtype: torch.arange(start, stop).to(dtype),
        "one_hot": lambda i, depth, dtype: (i[..., None] == torch.arange(depth)).to(dtype),
        "number_rows": lambda m: torch.where(m, torch.cumsum(m.reshape(-1).long(), 0).reshape(m.shape) - 1, -1),
        "zero_padding": lambda x, m: torch.where(m.reshape(m.shape + (1,) * (x.ndim - m.ndim)), x, number(x, 0)),
    })


def product(x: Any, y: Any, bias: Any = None) -> Any:
    """A matrix product; 8-bit integers wrap in their own type."""
    made = torch.matmul(x, y) if x.shape[-1] else torch.zeros(()).to(x.dtype).expand(torch.matmul(x, y).shape)
    return made if bias is None else made + bias


def whole(x: Any, y: Any, divide: Callable[[Any, Any], Any], by_zero: Any) -> Any:
    """A division of integers: what is divided by 0 gives `by_zero`, and the lowest number by -1 wraps."""
    x, y = torch.broadcast_tensors(x, y)
    hard = (y == 0) | (y == -1) if x.dtype != torch.uint8 else y == 0
    made = divide(x, torch.where(hard, torch.ones_like(y), y))
    made = torch.where((y == -1) & hard, torch.zeros_like(x) if by_zero is None else -x, made) if x.dtype != torch.uint8 else made
    return torch.where(y == 0, torch.zeros_like(x), made)


@meaning
def div(x: Any, y: Any) -> Any:
    return x / y if x.is_floating_point() else whole(x, y, lambda a, b: torch.div(a, b, rounding_mode="trunc"), 0)


@meaning
def floor_div(x: Any, y: Any) -> Any:
    if x.is_floating_point():
        return torch.floor_divide(x, y)
    return whole(x, y, lambda a, b: torch.div(a, b, rounding_mode="floor"), 0)


@meaning
def mod(x: Any, y: Any) -> Any:
    if not x.is_floating_point():
        return whole(x, y, torch.remainder, None)
    x, y = torch.broadcast_tensors(x, y)
    rest = torch.fmod(x, y)  # exact, with the sign of x
    lost = torch.isfinite(x) & (y != 0) & torch.isnan(rest) & ~torch.isnan(y)  # PyTorch's is NaN where x / y overflows
    rest[lost] = torch.tensor([math.fmod(a, b) for a, b in zip(x[lost].tolist(), y[lost].tolist())], dtype=x.dtype)
    return torch.where(rest == 0, torch.copysign(rest, y), torch.where((rest < 0) != (y < 0), rest + y, rest))


@meaning
def clip(x: Any, *, min: Any, max: Any) -> Any:
    x = x if min is None else torch.maximum(x, number(x, min))
    return x if max is None else torch.minimum(x, number(x, max))


@meaning
def cast(x: Any, *, dtype: Any) -> Any:
    if x.is_floating_point() and dtype not in (torch.float64, torch.bool):
        info = torch.iinfo(dtype)
        trunc = torch.nan_to_num(torch.trunc(x), nan=0.0, posinf=math.inf, neginf=-math.inf)
        inside = (trunc > info.min) & (trunc < info.max)
        made = torch.where(inside, trunc, number(x, 0)).to(dtype)
        return torch.where(inside, made, torch.where(trunc < 0, info.min, info.max).to(dtype) * (trunc != 0).to(dtype))
    return x.to(dtype)


def _axes(x: Any, axes: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else tuple(a % x.ndim for a in axes)


def _reduce(x: Any, axes: Any, keepdims: bool, one: Callable[[Any, int], Any]) -> Any:
    """Axis by axis, from the last one."""
    for axis in sorted(_axes(x, axes), reverse=True):
        x = one(x, axis)
        x = x.unsqueeze(axis) if keepdims else x
    return x


@meaning
def reduce_sum(x: Any, *, axes: Any, keepdims: bool) -> Any:
    return _reduce(x, axes, keepdims, lambda v, a: v.sum(a, dtype=v.dtype))


@meaning
def reduce_prod(x: Any, *, axes: Any, keepdims: bool) -> Any:
    reduced = _axes(x, axes)
    kept = [a for a in range(x.ndim) if a not in reduced]
    flat = x.permute([*kept, *reduced]).reshape([*(x.shape[a] for a in kept), -1 if x.numel() else math.prod(
        x.shape[a] for a in reduced)])
    result = flat.prod(-1, dtype=x.dtype)
    if x.is_floating_point():  # an overflow on the way, which depends on the order, makes NaN of a 0
        is_zero = (flat == 0).any(-1) & torch.isfinite(flat).all(-1)
        sign = 1.0 - 2.0 * (torch.signbit(flat).sum(-1) % 2).to(x.dtype)
        result = torch.where(is_zero, sign * 0.0, result)
    return result.reshape([1 if a in reduced else x.shape[a] for a in range(x.ndim)]) if keepdims else result


@meaning
def reduce_mean(x: Any, *, axes: Any, keepdims: bool) -> Any:
    count = math.prod(x.shape[a] for a in _axes(x, axes))
    total = reduce_sum(x, axes=axes, keepdims=keepdims)
    return total / count if count else total * math.nan


def _extreme(x: Any, axis: int, function: Callable[..., Any], end: float) -> Any:
    info = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
    start = (math.inf * end) if x.is_floating_point() else info.max if end > 0 else info.min
    shape = [1 if i == axis else d for i, d in enumerate(x.shape)]
    return function(torch.cat([x, torch.full(shape, start, dtype=x.dtype)], axis), axis)


@meaning
def reduce_max(x: Any, *, axes: Any, keepdims: bool) -> Any:
    return _reduce(x, axes, keepdims, lambda v, a: _extreme(v, a, torch.amax, -1))


@meaning
def reduce_min(x: Any, *, axes: Any, keepdims: bool) -> Any:
    return _reduce(x, axes, keepdims, lambda v, a: _extreme(v, a, torch.amin, 1))


@meaning
def argmax(x: Any, *, axis: int, keepdims: bool) -> Any:
    """The first of the largest, NaN above all: PyTorch does not say which of several it takes."""
    if not x.shape[axis]:
        shape = [1 if i == axis % x.ndim else d for i, d in enumerate(x.shape) if keepdims or i != axis % x.ndim]
        return torch.zeros(shape, dtype=torch.int64)
    best = torch.amax(x, axis, keepdim=True)
    hit = (x == best) | (x != x)
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    places = torch.arange(x.shape[axis]).reshape(shape)
    return torch.where(hit, places, x.shape[axis]).amin(axis, keepdim=keepdims)


@meaning
def cumsum(x: Any, *, axis: int, exclusive: bool) -> Any:
    total = torch.cumsum(x, axis, dtype=x.dtype)
    if not exclusive or not x.shape[axis]:
        return total
    return torch.cat([torch.zeros_like(x.narrow(axis, 0, 1)), total.narrow(axis, 0, x.shape[axis] - 1)], axis)


@meaning
def einsum(*xs: Any, equation: str) -> Any:
    wide = [x if x.is_floating_point() else x.long() for x in xs]  # its sums of integers are of i64, whatever comes after them
    return torch.einsum(equation, *wide).to(xs[0].dtype)


@meaning
def layer_norm(x: Any, weight: Any, bias: Any, *, epsilon: float) -> Any:
    return F.layer_norm(x, x.shape[-1:], weight, bias, epsilon) if x.numel() else x


@meaning
def rms_norm(x: Any, weight: Any, *, epsilon: float) -> Any:
    y = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + epsilon)
    return y if weight is None else y * weight


@meaning
def unsqueeze(x: Any, *, axes: Any) -> Any:
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@meaning
def slice_(x: Any, *, starts: Any, stops: Any, axes: Any, steps: Any) -> Any:
    for start, stop, axis, step in zip(starts, stops, axes, steps):
        x = x.index_select(axis, torch.arange(x.shape[axis])[torch.tensor(range(x.shape[axis])[slice(start, stop, step)]).long()])
    return x


@meaning
def pad(x: Any, *, before: Any, after: Any, value: float) -> Any:
    y = torch.full([b + d + a for b, d, a in zip(before, x.shape, after)], value, dtype=x.dtype)
    y[tuple(slice(b, b + d) for b, d in zip(before, x.shape))] = x
    return y


@meaning
def gather(x: Any, indices: Any, *, axis: int) -> Any:
    flat = indices.long().reshape(-1)
    flat = torch.where(flat < 0, flat + x.shape[axis], flat)
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1:]])


@meaning
def pad_rows(x: Any, positions: Any) -> Any:
    places = positions.long()
    rows = torch.cat([torch.zeros_like(x[:1]) if len(x) else torch.zeros(1, *x.shape[1:], dtype=x.dtype), x])
    return rows[torch.clamp(places, min=-1) + 1]


@meaning
def unpack(mask: Any, *, name: str) -> Any:
    return mask.reshape(-1).nonzero()[:, 0], torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)])


@meaning
def rotary(x: Any, cos: Any, sin: Any, *, interleaved: bool) -> Any:
    def whole_table(t: Any) -> Any:
        if t.shape[-1] == x.shape[-1]:
            return t
        return t.repeat_interleave(2, -1) if interleaved else torch.cat([t, t], -1)

    if interleaved:
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    else:
        first, second = x.chunk(2, -1)
        turned = torch.cat([-second, first], -1)
    return x * whole_table(cos) + turned * whole_table(sin)


@meaning
def attention(q: Any, k: Any, v: Any, mask: Any, bias: Any, offset: Any, *, scale: float, causal: bool, empty_row: str,
              softcap: float, window: Any) -> Any:
    batch, heads, queries, _ = q.shape
    group, keys = heads // k.shape[1], k.shape[2]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) * scale
    scores = torch.tanh(scores / softcap) * softcap if softcap else scores
    scores = scores if bias is None else scores + bias
    allowed = torch.ones(batch, heads, queries, keys, dtype=torch.bool)
    if mask is not None:
        allowed = allowed & (mask[:, None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask)
    shift = 0 if offset is None else int(offset)
    distance = torch.arange(keys) - torch.arange(queries)[:, None] - shift
    left, right = window or (-1, -1)
    right = 0 if causal else right
    allowed = allowed & (distance <= right) if right >= 0 else allowed
    allowed = allowed & (-distance <= left) if left >= 0 else allowed
    weights = torch.softmax(scores.masked_fill(~allowed, -math.inf), -1)
    some = allowed.any(-1, keepdim=True)
    if empty_row != "nan":
        filler = 0.0 if empty_row == "zero" else 1 / max(keys, 1)
        weights = torch.where(some, weights, number(weights, filler))
    counted = allowed if empty_row == "zero" else allowed | ~some  # what is not allowed takes no part, be it NaN
    return torch.where(counted[..., None], weights[..., None] * v[:, :, None], 0.0).sum(-2)


@meaning
def ragged_attention(q: Any, k: Any, v: Any, offsets: Any, mask: Any, **attrs: Any) -> Any:
    parts = [torch.zeros(0, q.shape[1], v.shape[2], dtype=q.dtype)]
    for start, stop in zip(offsets.tolist(), offsets.tolist()[1:]):
        heads = [x[start:stop].transpose(0, 1)[None] for x in (q, k, v)]
        seen = None if mask is None else mask[None, start:stop]
        one = attention(*heads, seen, None, None, **attrs)
        parts.append(one[0].transpose(0, 1))
    return torch.cat(parts)


@meaning
def dequantize(packed: Any, scale: Any, zero: Any, *, depth: int, block: int, bits: int) -> Any:
    def of_each(x: Any) -> Any:
        return x if x.ndim == 0 else x.repeat_interleave(block, 1)[:, :depth]

    numbers = [(packed.to(torch.int32) >> at) % 2**bits if bits < 8 else packed for at in range(0, 8, bits)]
    q = torch.stack(numbers, 2).reshape(len(packed), -1)[:, :depth].to(scale.dtype)
    return (q if zero is None else q - of_each(zero)) * of_each(scale)


@meaning
def pack_panels(w: Any, *, width: int, group: int) -> Any:
    rows, depth = w.shape
    padded = F.pad(w, (0, -depth % group, 0, -rows % width))
    panels = padded.reshape(padded.shape[0] // width, width, padded.shape[1] // group, group).permute(0, 2, 1, 3)
    return panels[..., 0] if group == 1 else panels


@meaning
def unpack_panels(p: Any, *, rows: int, depth: Any) -> Any:
    p = p if p.ndim == 4 else p[..., None]
    whole_weight = p.permute(0, 2, 1, 3).reshape(p.shape[0] * p.shape[2], p.shape[1] * p.shape[3])
    return whole_weight[:rows, :depth]


# Orders

def ordered(x: Any, axis: int, descending: bool) -> Any:
    """Stable; NaN is above all."""
    return torch.argsort(x.to(torch.uint8) if x.dtype == torch.bool else x, dim=axis, descending=descending, stable=True)


@meaning
def argsort(x: Any, *, axis: int, descending: bool) -> Any:
    return ordered(x, axis, descending)


@meaning
def topk(x: Any, *, k: int, axis: int, largest: bool) -> Any:
    indices = ordered(x, axis, largest).narrow(axis, 0, k)
    return torch.gather(x, axis, indices), indices


@meaning
def update_slice(x: Any, value: Any, start: Any, *, axis: int) -> Any:
    y = x.clone()
    y.narrow(axis, int(start), value.shape[axis]).copy_(value)
    return y


@meaning
def update_in_place(x: Any, value: Any, start: Any, *, axis: int) -> Any:
    return update_slice(x, value, start, axis=axis)


def from_start(x: Any, indices: Any, axis: int) -> Any:
    places = indices.long()
    return torch.where(places < 0, places + x.shape[axis], places)


@meaning
def take_along_axis(x: Any, indices: Any, *, axis: int) -> Any:
    return torch.gather(x, axis, from_start(x, indices, axis))


@meaning
def scatter(x: Any, indices: Any, updates: Any, *, axis: int, reduction: str) -> Any:
    """One slice of updates after the other, so that the last of several wins."""
    places, y = from_start(x, indices, axis), x.clone()
    combine = {"none": lambda a, b: b, "add": torch.add, "mul": torch.mul, "max": torch.maximum, "min": torch.minimum}[reduction]
    for j in range(places.shape[axis]):
        at, new = places.narrow(axis, j, 1), updates.narrow(axis, j, 1)
        y.scatter_(axis, at, combine(torch.gather(y, axis, at), new))
    return y
