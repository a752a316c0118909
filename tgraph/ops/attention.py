"""Scaled dot-product attention with every kind of mask."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np

from ..ir.attributes import AtLeast
from ..ir.axis_maps import broadcast_map
from ..ir.dims import DimLike, compare
from ..ir.dtypes import f16, f32, i64
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import known_equal, require_float, require_integer, same, same_dtype
from ..ir.types import TensorType

EmptyRow = Literal["zero", "uniform", "nan"]
Softcap = Annotated[float, AtLeast(0)]
Window = tuple[int, ...]


@op(attention=True, precision="product", magnitude="bounded")
def attention(q: TensorType, k: TensorType, v: TensorType, mask: TensorType | None = None,
              bias: TensorType | None = None, offset: TensorType | None = None, *, scale: float | None = None,
              causal: bool = False, empty_row: EmptyRow = "zero", softcap: Softcap = 0.0,
              window: Window | None = None) -> TensorType:
    """Scaled dot-product attention (arXiv:1706.03762): softmax(scale q k^T + bias, where allowed) v.

    q [B, Hq, Sq, D], k [B, Hk, Sk, D], v [B, Hk, Sk, Dv]; y [B, Hq, Sq, Dv]. Hq is a multiple of Hk: query head h reads
    key head h // (Hq / Hk) (grouped heads, arXiv:2305.13245). scale defaults to 1 / sqrt(D).
    mask: bool, True = attend; [B, Sk], [B, Sq, Sk], or rank 4 that broadcasts to [B, Hq, Sq, Sk]. Its first size must be known to
    be B (or 1): a mask [Sq, Sk] for the whole batch is mask[None]. bias: added after scaling, broadcasts to [B, Hq, Sq, Sk].
    softcap > 0 bounds the scores before bias and mask: c tanh(scale q k^T / c) (Gemma 2, arXiv:2408.00118); 0 does not.
    causal keeps key j <= query i + offset (offset: an integer, default 0). window = (left, right) keeps the keys from
    i + offset - left to i + offset + right (arXiv:2004.05150); -1 does not limit that side. (left, 0) is causal.
    A query with no key left gives zeros; empty_row "uniform" gives the mean of v, "nan" NaN. A key that a query may not attend
    takes no part in its result, whatever its k and v hold, NaN and infinities included.
    """
    require_float(q, k, v)
    same_dtype(q, k, v)
    for name, t in (("q", q), ("k", k), ("v", v)):
        if t.rank != 4:
            raise RuleError(f"{name} must be [batch, heads, length, head_dim], got {t}")
    batch = same(q.shape[0], k.shape[0], "the batch of q and k must agree")
    same(batch, v.shape[0], "the batch of q and v must agree")
    heads_per_key_head(q, k)
    same(k.shape[1], v.shape[1], "the heads of k and v must agree")
    same(q.shape[3], k.shape[3], "head_dim of q and k must agree")
    same(k.shape[2], v.shape[2], "the lengths of k and v must agree")
    full = (batch, q.shape[1], q.shape[2], k.shape[2])
    if mask is not None:
        require_mask(mask)
        shape = four_axes(mask)
        if shape[0] != 1 and compare(shape[0], batch) != "different" and not known_equal(shape[0], batch):
            raise RuleError(_other_batch(mask, full))
        _fits(shape, full, "mask", mask)
    if bias is not None:
        same_dtype(q, bias)
        if bias.rank > 4:
            raise RuleError(f"bias must broadcast to [B, H, Sq, Sk], got {bias}")
        _fits((1,) * (4 - bias.rank) + bias.shape, full, "bias", bias)
    if offset is not None:
        require_integer(offset, "offset")
        if offset.rank:
            raise RuleError(f"offset is one integer (rank 0), got {offset}")
        if not causal and window is None:
            raise RuleError("offset means something only with causal=True or a window")
    require_softcap(softcap)
    return q.with_shape((*q.shape[:3], v.shape[3]))


@attention.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    q, k, _, mask, bias, _ = operands
    head = 1 if q.shape[1] == k.shape[1] else None
    masks = {2: (0, None, None, None), 3: (0, None, 1, None), 4: (0, 1, 2, None)}
    return [(0, 1, 2, None), (0, head, None, None), (0, head, None, 3), None if mask is None else masks[mask.rank],
            None if bias is None else (*broadcast_map(bias.rank, 4)[:-1], None), (None,) * 4]


def require_mask(mask: TensorType) -> None:
    """Raises RuleError for a mask that is not boolean, and says how to write what it may be instead."""
    if mask.dtype.is_float:
        raise RuleError(f"needs a boolean operand for mask, got {mask}: give one that is added to the scores as bias=, "
                        "and one of 0 and 1 as mask=mask != 0")
    if not mask.dtype.is_bool:
        raise RuleError(f"needs a boolean operand for mask, got {mask}: write mask=mask != 0, which is True where to attend")


def require_softcap(softcap: float) -> None:
    """Raises RuleError for a cap that is neither 0 nor a normal number of f32, in which kernels compute scores."""
    if softcap and not 2.0**-126 <= softcap <= f32.largest:
        raise RuleError(f"softcap is 0, which is none, or a number that f32 holds in full precision, got {softcap:g}")


def heads_per_key_head(q: TensorType, k: TensorType) -> int:
    """How many query heads read one key head; heads are axis 1. Raises RuleError if they do not divide."""
    heads, kv_heads = q.shape[1], k.shape[1]
    if heads == kv_heads:
        return 1
    if not (isinstance(heads, int) and isinstance(kv_heads, int)) or not kv_heads or heads % kv_heads:
        raise RuleError(f"the query heads ({heads}) must be a multiple of the key heads ({kv_heads})")
    return heads // kv_heads


def four_axes(mask: TensorType) -> tuple[DimLike, ...]:
    """The shape of a mask as [B, H, Sq, Sk] with 1 where it does not vary. Raises RuleError for another rank."""
    if mask.rank == 2:
        return (mask.shape[0], 1, 1, mask.shape[1])
    if mask.rank == 3:
        return (mask.shape[0], 1, *mask.shape[1:])
    if mask.rank == 4:
        return mask.shape
    raise RuleError(f"mask must be [B, Sk], [B, Sq, Sk] or [B, H, Sq, Sk], got {mask}")


def _other_batch(mask: TensorType, full: tuple[DimLike, ...]) -> str:
    """Why a mask whose first size is not known to be the batch's is none."""
    rule = f"the first axis of mask {mask} is the batch, and {mask.shape[0]} is not known to be {full[0]}"
    if mask.rank == 2:
        queries = ", as its sizes say it is" if mask.shape == full[2:] else ""
        return f"{rule}: rank 2 is [B, Sk]; if the mask is [Sq, Sk]{queries}, write mask[None] (rank 3, one for the whole batch)"
    return f"{rule}; write mask[None] for a mask [H, Sq, Sk]" if mask.rank == 3 else rule


def _fits(shape: tuple[DimLike, ...], full: tuple[DimLike, ...], name: str, given: TensorType) -> None:
    for axis, (have, want) in enumerate(zip(shape, full)):
        if have != 1:
            shown = ", ".join(map(str, full))
            same(want, have, f"{name} {given} must broadcast to [B, H, Sq, Sk] = [{shown}] (axis {axis})")


def limits(causal: bool, window: Window | None) -> tuple[int | None, int | None]:
    """How far before and after its own place a query sees keys; None without a limit."""
    left, right = (None if side < 0 else side for side in window or (-1, -1))
    return left, 0 if causal else right


def _one_window(causal: bool, window: Window | None) -> dict[str, object]:
    """Causality and window in one form: a window that ends at the query itself is causal, and one without limits is none.

    Raises RuleError for a window that is not two sizes.
    """
    if window is None:
        return {}
    if len(window) != 2 or min(window) < -1 or max(window) >= 2**31:
        raise RuleError(f"window is (left, right), each a number of keys below 2^31, or -1 for all, got {window}")
    left, right = window
    causal = causal or right == 0
    window = None if left == -1 and (causal or right == -1) else (left, -1 if causal else right)
    return {"causal": causal, "window": window}


@attention.canonicalize
def canonical_attributes(types, attrs):  # type: ignore[no-untyped-def]
    """The scale as a number: 1 / sqrt(head_dim) if none is given, head_dim being the last axis of q; and one form of windows."""
    return {**_default_scale(types, attrs), **_one_window(attrs["causal"], attrs["window"])}


def _default_scale(types, attrs):  # type: ignore[no-untyped-def]
    head_dim = types[0].shape[-1] if types[0] is not None and types[0].rank in (3, 4) else None
    scale = attrs["scale"]
    if scale is None and isinstance(head_dim, int) and head_dim:
        return {"scale": 1.0 / math.sqrt(head_dim)}
    if scale is None and head_dim is not None:
        raise RuleError(f"scale has no default for head_dim {head_dim}; give scale=")
    return {"scale": scale}


@attention.reference
def attend(q, k, v, mask, bias, offset, *, scale, causal, empty_row, softcap=0.0, window=None):  # type: ignore[no-untyped-def]
    """What `attention` means, in NumPy."""
    group = q.shape[1] // k.shape[1] if k.shape[1] else 1
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * q.dtype.type(scale)
    if softcap:
        wide = scores if scores.dtype.itemsize >= 4 else scores.astype(np.float32)  # f16 may not hold the cap
        scores = (np.tanh(wide / softcap) * softcap).astype(scores.dtype)
    if bias is not None:
        scores = scores + bias
    allowed = np.ones(scores.shape[-2:], bool)
    left, right = limits(causal, window)
    places = np.arange(scores.shape[2])[:, None] + (0 if offset is None else int(offset))
    if right is not None:
        allowed = np.arange(scores.shape[3]) <= places + right
    if left is not None:
        allowed = allowed & (np.arange(scores.shape[3]) >= places - left)
    if mask is not None:
        allowed = allowed & (mask[:, None, None, :] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask)
    scores = np.where(allowed, scores, -np.inf)
    e = np.exp(scores - np.max(scores, axis=-1, keepdims=True, initial=-np.inf))
    weights = e / e.sum(axis=-1, keepdims=True)
    some = allowed.any(axis=-1, keepdims=True)
    if empty_row != "nan":
        filler = 0 if empty_row == "zero" else 1 / max(scores.shape[3], 1)
        weights = np.where(some, weights, np.asarray(filler, scores.dtype))
    # equal weights, and NaN, are those of all keys; zeros those of none
    return _weighted(weights.astype(v.dtype), v, allowed if empty_row == "zero" else allowed | ~some)


def _weighted(weights, v, allowed):  # type: ignore[no-untyped-def]
    """The product of weights and values, in which keys that are not allowed take no part: 0 NaN would be NaN."""
    if np.isfinite(v).all():
        return np.matmul(weights, v)
    allowed = np.broadcast_to(allowed, weights.shape)
    rows = [np.where(allowed[..., i, :, None], weights[..., i, :, None] * v, 0).sum(axis=-2, dtype=v.dtype)
            for i in range(weights.shape[-2])]
    return np.stack(rows, axis=-2) if rows else np.matmul(weights, v)


@attention.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    q, k, v = operands[:3]
    scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    return scores * (2 * q.shape[3] + 2 * v.shape[3] + 5 + (3 if attrs["softcap"] else 0))


@attention.decomposition
def _(b, q, k, v, mask, bias, offset, **attrs):  # type: ignore[no-untyped-def]
    group = heads_per_key_head(q.type, k.type)
    return b.matmul(build_weights(b, q, k, mask, bias, offset, **attrs), _repeat_heads(b, v, group) if group > 1 else v)


def build_weights(b: Any, q: Any, k: Any, mask: Any, bias: Any, offset: Any, *, scale: float, causal: bool, empty_row: EmptyRow,
                  softcap: float, window: Window | None) -> Any:
    """The weights [B, Hq, Sq, Sk] by which `attention` of these operands takes the mean of v, from primitives."""
    length, keys = q.shape[2], k.shape[2]
    group = heads_per_key_head(q.type, k.type)
    k = _repeat_heads(b, k, group) if group > 1 else k
    scores = b.mul(b.matmul(q, b.transpose(k, perm=(0, 1, 3, 2))), float(scale))
    if softcap:
        cap = min(max(softcap, 2.0**-14), f16.largest) if q.dtype == f16 else softcap
        scores = b.mul(b.tanh(b.div(scores, cap)), cap)
    if bias is not None:
        scores = b.add(scores, bias)
    allowed = None
    if causal or window:
        rows = b.unsqueeze(b.range(stop=length, dtype=i64), axes=(1,))
        if offset is not None:
            rows = b.add(rows, b.cast(offset, dtype=i64))
        allowed = within_limits(b, b.unsqueeze(b.range(stop=keys, dtype=i64), axes=(0,)), rows, causal, window)
    if mask is not None:
        wide = b.unsqueeze(mask, axes={2: (1, 2), 3: (1,)}[mask.type.rank]) if mask.type.rank < 4 else mask
        allowed = wide if allowed is None else b.logical_and(allowed, wide)
    if allowed is not None:
        scores = b.where(allowed, scores, b.constant(-np.inf, q.dtype))
    weights = b.softmax(scores)
    if empty_row != "nan" and allowed is not None:
        some = b.greater(b.reduce_max(b.cast(allowed, dtype=f32), axes=(-1,), keepdims=True), 0.0)
        filler = b.constant(0.0, q.dtype)
        if empty_row == "uniform":
            filler = b.div(b.constant(1.0, q.dtype), b.dim_size(size=keys, dtype=q.dtype))
        weights = b.where(some, weights, filler)
    return weights


def within_limits(b: Any, columns: Any, rows: Any, causal: bool, window: Window | None) -> Any:
    """Which keys, by their positions `columns`, queries at `rows` may see."""
    left, right = limits(causal, window)
    until = None if right is None else b.less_or_equal(columns, b.add(rows, right) if right else rows)
    since = None if left is None else b.greater_or_equal(columns, b.sub(rows, left))
    return since if until is None else until if since is None else b.logical_and(until, since)


@attention.lowering
def _(b, q, k, v, mask, bias, offset, **attrs):  # type: ignore[no-untyped-def]
    """The decomposition for targets without a kernel for it: values of keys that are not allowed take no part, as in the op.

    0 NaN is NaN in a product, so infinities and NaN are left out of it. Their places, as zeros and ones, go through the same
    weights, and through equal ones, which tell of a place whether an allowed key has it.
    """
    plain = attention.decompose
    assert plain is not None
    if mask is None and not attrs["causal"] and attrs["window"] is None:
        return plain(b, q, k, v, mask, bias, offset, **attrs)
    group = heads_per_key_head(q.type, k.type)
    v = _repeat_heads(b, v, group) if group > 1 else v
    zero, infinity, nan = (b.constant(c, v.dtype) for c in (0.0, np.inf, np.nan))
    infinite, positive = b.isinf(v), b.greater(v, zero)
    up, down, undefined = (b.cast(place, dtype=v.dtype) for place in (
        b.logical_and(infinite, positive), b.logical_and(infinite, b.logical_not(positive)), b.isnan(v)))
    finite = b.where(b.logical_or(infinite, b.isnan(v)), zero, v)
    weights = build_weights(b, q, k, mask, bias, offset, **attrs)
    equal_q, equal_k = (b.expand(b.constant(0.0, x.dtype), shape=x.shape) for x in (q, k))
    seen = b.greater(build_weights(b, equal_q, equal_k, mask, None, offset, **attrs), b.constant(0.0, q.dtype))
    lost = b.logical_and(seen, b.equal(weights, b.constant(0.0, q.dtype)))  # times an infinity these are NaN
    rows = b.concat(weights, b.cast(seen, dtype=v.dtype), b.cast(lost, dtype=v.dtype), axis=2)
    product = b.matmul(rows, b.concat(finite, up, down, undefined, axis=3))
    of_weights, of_seen, of_lost = (b.split(part, sizes=4, axis=3) for part in b.split(product, sizes=3, axis=2))
    y, ups, downs, _ = of_weights
    _, of_up, of_down, of_undefined = (b.greater(share, zero) for share in of_seen)
    of_lost = b.greater(b.add(of_lost[1], of_lost[2]), zero)
    y = b.where(of_up, b.add(y, b.mul(ups, infinity)), y)
    y = b.where(of_down, b.sub(y, b.mul(downs, infinity)), y)
    return b.where(b.logical_or(of_lost, of_undefined), nan, y)


def _repeat_heads(b, x, group):  # type: ignore[no-untyped-def]
    batch, heads, length, head_dim = x.shape
    wide = b.expand(b.unsqueeze(x, axes=(2,)), shape=(batch, heads, group, length, head_dim))
    return b.reshape(wide, shape=(batch, heads * group, length, head_dim))
