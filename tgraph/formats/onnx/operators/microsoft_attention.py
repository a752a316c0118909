"""Attention of com.microsoft: ONNX Runtime's optimiser and its model builder write it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.dims import compare
from ....ir.dtypes import i64
from ..node import OnnxNode, UnsupportedError
from ..registry import MICROSOFT, importer
from .attention import rotated
from .language import t
from .quantization import scaled_product
from .scaled_dot_product import Positions, joined_heads, scaled_dot_product, split_heads, up_to


@importer("Attention", domain=MICROSOFT, limits="masks of rank 1 to 3; no rotary, no buffer shared by past and present")
def attention(node: OnnxNode, x: Any, weight: Any, bias: Any = None, mask: Any = None, past: Any = None, added: Any = None,
              *_: Any) -> Any:
    """Projections to q, k and v by one weight [I, 3 H], and attention."""
    projected = t.matmul(x, weight)
    return _packed(node, projected if bias is None else projected + bias, mask, past, added)


@importer("QAttention", domain=MICROSOFT)
def quantized_attention(node: OnnxNode, x: Any, weight: Any, bias: Any, x_scale: Any, weight_scale: Any, mask: Any = None,
                        x_zero: Any = None, weight_zero: Any = None, past: Any = None) -> Any:
    projected = scaled_product(x, weight, x_scale, weight_scale, x_zero, weight_zero) + bias
    return _packed(node, projected, mask, past, None)


def _packed(node: OnnxNode, projected: Any, mask: Any, past: Any, added: Any) -> Any:
    if node.attribute("do_rotary", 0) or node.attribute("past_present_share_buffer", 0):
        raise UnsupportedError("turns positions, or shares a buffer between past and present; tgraph does neither in one node: "
                               "optimise the model without it")
    heads, width = node.attribute("num_heads"), projected.shape[-1]
    sizes = node.attribute("qkv_hidden_sizes", None) or [width // 3] * 3
    q, k, v = (split_heads(part, heads) for part in t.split(projected, sizes=tuple(sizes), axis=-1))
    before: Any = 0
    if past is not None:
        before = past.shape[3]
        k, v = t.concat([past[0], k], axis=2), t.concat([past[1], v], axis=2)
    y = _attended(node, q, k, v, mask, added, before)
    return (y, t.stack([k, v], axis=0)) if node.wants(1) else y


def _attended(node: OnnxNode, q: Any, k: Any, v: Any, mask: Any, added: Any, before: Any) -> Any:
    """Attention with ONNX Runtime's masks, as [B, S, H D]."""
    bias = added
    if mask is not None:
        lowest = max(node.attribute("mask_filter_value", -10000.0), -q.dtype.largest)
        filled = t.where(_mask(mask, q, k), 0.0, t.full((), lowest, dtype=q.dtype))
        bias = filled if bias is None else bias + filled
    places = Positions(None, 0 if node.attribute("unidirectional", 0) else None, before)
    y, _ = scaled_dot_product(q, k, v, bias=bias, positions=places, scale=node.attribute("scale", 0.0) or None, excluding=False)
    return joined_heads(y)


def _mask(mask: Any, q: Any, k: Any) -> Any:
    """True where to attend, of rank 4, of any of the forms that ONNX Runtime has for it."""
    batch, keys = q.shape[0], k.shape[2]
    if mask.rank == 4:
        raise UnsupportedError(f"has a mask {mask.type} of rank 4; tgraph takes ONNX Runtime's masks of rank 1 to 3")
    if mask.rank == 1:
        if compare(mask.shape[0], batch * 2) == "equal":  # where each sequence ends, and where it begins
            ends, starts = mask[:batch], t.cast(mask[batch:], dtype=i64)
            after = t.range(stop=keys, dtype=i64)[None, :] >= starts[:, None]
            return up_to(ends, keys) & after[:, None, None, :]
        return up_to(mask[:batch] if compare(mask.shape[0], batch) == "different" else mask, keys)
    found = mask if mask.dtype.is_bool else mask > 0
    return found[:, None, None, :] if found.rank == 2 else found[:, None]


@importer("MultiHeadAttention", domain=MICROSOFT, limits="masks of rank 1 to 3; no buffer shared by past and present")
def multi_head_attention(node: OnnxNode, q: Any, k: Any = None, v: Any = None, bias: Any = None, mask: Any = None,
                         added: Any = None, past_key: Any = None, past_value: Any = None, *rest: Any) -> Any:
    """q [B, S, H D], k and v as [B, L, H D], or packed with q, or with each other, or as heads [B, H, L, D]."""
    if any(r is not None for r in rest) or node.wants(3):
        raise UnsupportedError("shares buffers between calls, or gives the scores, too; tgraph takes past and present")
    heads = node.attribute("num_heads")
    if q.rank == 5:  # [B, S, H, 3, D]
        q, k, v = (t.reshape(q[:, :, :, i], shape=(*q.shape[:2], -1)) for i in range(3))
    elif k.rank == 5:  # [B, L, H, 2, D]
        k, v = (t.reshape(k[:, :, :, i], shape=(*k.shape[:2], -1)) for i in range(2))
    if bias is not None:
        first = q.shape[-1]
        q, k = q + bias[:first], k if k.rank == 4 else k + bias[first:2 * first]
        v = v if v.rank == 4 else v + bias[2 * first:]
    q, k, v = (x if x.rank == 4 else split_heads(x, heads) for x in (q, k, v))
    before: Any = 0
    if past_key is not None:
        before = past_key.shape[2]
        k, v = t.concat([past_key, k], axis=2), t.concat([past_value, v], axis=2)
    return (_attended(node, q, k, v, mask, added, before), k, v)[:max(node.results, 1)]


@importer("GroupQueryAttention", domain=MICROSOFT,
          limits="a cache that grows by the keys that come; no sink, no norms, no quantised or windowed cache")
def group_query_attention(node: OnnxNode, q: Any, k: Any, v: Any, past_key: Any, past_value: Any, last: Any, total: Any,
                          cos: Any = None, sin: Any = None, positions: Any = None, added: Any = None, *rest: Any) -> Any:
    """last [B]: how many keys each sequence has now, less 1. The cache grows by the keys that come: past [B, Hk, P, D] becomes
    present [B, Hk, P + S, D], in which each sequence has its keys first.
    """
    unknown = [name for name in ("smooth_softmax", "qk_output", "sliding_window_cache") if node.attribute(name, 0) not in (0, -1)]
    unknown += ["a sink, a norm, scales of a quantised cache or lengths of queries"] if any(r is not None for r in rest) else []
    if unknown or node.wants(3):
        raise UnsupportedError(f"has {', '.join(unknown) or 'its scores as a result'}, which tgraph does not have")
    heads, key_heads = node.attribute("num_heads"), node.attribute("kv_num_heads")
    if k is None:
        each = q.shape[-1] // (heads + 2 * key_heads)
        q, k, v = t.split(q, sizes=(heads * each, key_heads * each, key_heads * each), axis=-1)
    q, k, v = split_heads(q, heads), split_heads(k, key_heads), split_heads(v, key_heads)
    length = q.shape[2]
    ragged = past_key is not None and q.shape[0] != 1
    before: Any = 0 if past_key is None else past_key.shape[2]
    if ragged:  # how many keys of the cache each sequence has
        before = t.maximum(t.cast(last, dtype=i64) + 1 - t.dim_size(size=length, dtype=i64), 0)
    if node.attribute("do_rotary", 0):
        rows = _turns(before, length, positions)
        tables = [t.gather(table, rows, axis=0) for table in (cos, sin)]
        cos, sin = (table[:, None] if table.rank == 3 else table for table in tables)
        turn = bool(node.attribute("rotary_interleaved", 0))
        q, k = (rotated(x, cos, sin, 2 * cos.shape[-1], turn) for x in (q, k))
    if past_key is not None:
        k, v = (_appended(past, new, before if ragged else None) for past, new in ((past_key, k), (past_value, v)))
    window = node.attribute("local_window_size", -1)
    causal = node.attribute("causal", 1)
    mask = None if causal else up_to(t.cast(last, dtype=i64) + 1, k.shape[2])
    places = Positions(window - 1 if window > 0 else None, 0 if causal else None, before)
    y, _ = scaled_dot_product(q, k, v, mask=mask, bias=added, positions=places, scale=node.attribute("scale", 0.0) or None,
                              softcap=node.attribute("softcap", 0.0), excluding=False)
    return (joined_heads(y), k, v)[:max(node.results, 1)]


def _turns(before: Any, length: Any, positions: Any) -> Any:
    """The rows of the tables of angles: [S] for all sequences, or [B, S]."""
    if positions is not None:
        return positions
    here = t.range(stop=length, dtype=i64)
    if isinstance(before, int) and not before:
        return here
    first = before[:, None] if hasattr(before, "rank") else t.dim_size(size=before, dtype=i64)
    return here + first


def _appended(past: Any, new: Any, before: Any) -> Any:
    """Keys after those of the cache; where sequences have other numbers of those, each after its own."""
    whole = t.concat([past, new], axis=2)
    if before is None:
        return whole
    places = t.range(stop=whole.shape[2], dtype=i64)[None, :]
    gap = t.dim_size(size=past.shape[2], dtype=i64) - before[:, None]
    end = t.dim_size(size=whole.shape[2], dtype=i64) - 1
    index = t.where(places < before[:, None], places, t.minimum(places + gap, end))
    return t.take_along_axis(whole, t.broadcast_to(index[:, None, :, None], whole.shape), axis=2)


@importer("RotaryEmbedding", domain=MICROSOFT, limits="padded batches")
def rotary_embedding(node: OnnxNode, x: Any, positions: Any, cos: Any, sin: Any) -> Any:
    """x [B, S, H D] or [B, H, S, D]; positions [B, S], or the first one, [1]."""
    if node.attribute("is_packed_batching", 0) or not np.isclose(node.attribute("scale", 1.0), 1.0):
        raise UnsupportedError("turns packed sequences, or scales them; tgraph does not")
    width = node.attribute("rotary_embedding_dim", 0)
    heads = node.attribute("num_heads", 0) or (x.shape[-1] // (2 * cos.shape[-1]) if x.rank == 3 else x.shape[1])
    apart = split_heads(x, heads) if x.rank == 3 else x
    if positions.rank == 1:
        positions = (positions + t.range(stop=apart.shape[2], dtype=positions.dtype))[None]
    cos, sin = (t.gather(table, positions, axis=0)[:, None] for table in (cos, sin))
    turned = rotated(apart, cos, sin, width, bool(node.attribute("interleaved", 0)))
    return joined_heads(turned) if x.rank == 3 else turned
