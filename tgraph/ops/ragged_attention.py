"""Scaled dot-product attention within sequences that lie one after the other, without padding between them."""

from __future__ import annotations

import itertools

import numpy as np

from ..ir.dtypes import f32, i64
from ..ir.errors import InputError, RuleError
from ..ir.registry import op
from ..ir.rules import require_bool, require_float, require_integer, same, same_dtype
from ..ir.traits import Segments
from ..ir.types import TensorType
from .attention import (
    EmptyRow,
    Softcap,
    Window,
    attend,
    canonical_attributes,
    heads_per_key_head,
    require_softcap,
    within_limits,
)


@op(attention=True, precision="product", magnitude="bounded", segments=Segments(offsets=3, rows=0))
def ragged_attention(q: TensorType, k: TensorType, v: TensorType, offsets: TensorType, mask: TensorType | None = None,
                     *, scale: float | None = None, causal: bool = False, empty_row: EmptyRow = "zero",
                     softcap: Softcap = 0.0, window: Window | None = None) -> TensorType:
    """Attention over packed rows: `attention` within each of B sequences, rows offsets[b] .. offsets[b+1] - 1.

    q [N, Hq, D], k [N, Hk, D], v [N, Hk, Dv]; y [N, Hq, Dv]. offsets: integers [B+1] as `unpack` gives them, from 0 to N
    and never falling; others raise InputError at run time. mask: bool [N], True = a key that may be attended. Grouped
    heads, scale, softcap, causal (a row's key lies not after it), window and empty_row are those of `attention`; "uniform"
    gives the mean over the sequence. FlashAttention calls this varlen (arXiv:2205.14135).
    """
    require_float(q, k, v)
    same_dtype(q, k, v)
    for name, t in (("q", q), ("k", k), ("v", v)):
        if t.rank != 3:
            raise RuleError(f"{name} must be [rows, heads, head_dim], got {t}")
    rows = same(q.shape[0], k.shape[0], "the rows of q and k must agree")
    same(rows, v.shape[0], "the rows of q and v must agree")
    heads_per_key_head(q, k)
    same(k.shape[1], v.shape[1], "the heads of k and v must agree")
    same(q.shape[2], k.shape[2], "head_dim of q and k must agree")
    require_integer(offsets, "offsets")
    if offsets.rank != 1:
        raise RuleError(f"offsets must be [sequences + 1], got {offsets}")
    if mask is not None:
        require_bool(mask)
        if mask.rank != 1:
            raise RuleError(f"mask must be [rows], got {mask}")
        same(rows, mask.shape[0], "the rows of q and the mask must agree")
    require_softcap(softcap)
    return q.with_shape((*q.shape[:2], v.shape[2]))


@ragged_attention.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    head = 1 if operands[0].shape[1] == operands[1].shape[1] else None
    return [(0, 1, None), (None, head, None), (None, head, 2), (None,) * 3, (None,) * 3]


ragged_attention.canonicalize(canonical_attributes)


@ragged_attention.reference
def _(q, k, v, offsets, mask, **attrs):  # type: ignore[no-untyped-def]
    bounds = [int(o) for o in offsets]
    if not bounds or bounds[0] != 0 or bounds[-1] != len(q) or bounds != sorted(bounds):
        raise InputError(f"ragged_attention: offsets go from 0 to the {len(q)} rows of q and never fall, got {bounds}")
    y = np.zeros((*q.shape[:2], v.shape[2]), q.dtype)
    for start, stop in itertools.pairwise(bounds):
        heads = [x[None, start:stop].swapaxes(1, 2) for x in (q, k, v)]
        keys = None if mask is None else mask[None, start:stop]
        one = attend(*heads, keys, None, None, **attrs)
        y[start:stop] = one[0].swapaxes(0, 1)
    return y


@ragged_attention.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    q, _, v, offsets = operands[:4]
    length = (q.shape[0] + offsets.shape[0] - 1) // offsets.shape[0]  # about the mean, and defined without sequences
    return q.shape[0] * q.shape[1] * length * (2 * q.shape[2] + 2 * v.shape[2] + 5 + (3 if attrs["softcap"] else 0))


@ragged_attention.decomposition
def _(b, q, k, v, offsets, mask, *, scale, causal, empty_row, softcap, window):  # type: ignore[no-untyped-def]
    # one attention of all rows, in which a row sees those of its own sequence
    rows = b.unsqueeze(b.range(stop=q.shape[0], dtype=i64), axes=(1,))
    starts = b.less_or_equal(b.unsqueeze(b.cast(offsets, dtype=i64), axes=(0,)), rows)
    sequence = b.reduce_sum(b.cast(starts, dtype=i64), axes=(1,), keepdims=True)
    within = b.equal(sequence, b.transpose(sequence))
    allowed = within if mask is None else b.logical_and(within, mask)
    if causal or window:
        allowed = b.logical_and(allowed, within_limits(b, b.transpose(rows), rows, causal, window))
    heads = [b.unsqueeze(b.transpose(x, perm=(1, 0, 2)), axes=(0,)) for x in (q, k, v)]
    y = b.attention(*heads, b.unsqueeze(allowed, axes=(0,)), scale=scale, empty_row=empty_row, softcap=softcap)
    if empty_row == "uniform" and mask is not None:  # over the sequence, whatever q and k hold: by equal scores
        some = b.greater(b.reduce_max(b.cast(allowed, dtype=f32), axes=(1,), keepdims=True), 0.0)
        equal = [b.expand(b.constant(0, x.dtype), shape=x.shape) for x in heads[:2]]
        y = b.where(some, y, b.attention(*equal, heads[2], b.unsqueeze(within, axes=(0,)), scale=scale))
    return b.transpose(b.squeeze(y, axes=(0,)), perm=(1, 0, 2))
