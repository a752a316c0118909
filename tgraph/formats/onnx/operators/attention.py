"""Attention and rotary embedding as opset 23 defines them."""

from __future__ import annotations

from typing import Any

from ....ir.dtypes import f32, i64
from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t


@importer("RotaryEmbedding", since=23)
def rotary_embedding(node: OnnxNode, x: Any, cos: Any, sin: Any, positions: Any = None) -> Any:
    """x [B, H, S, D], or [B, S, H D]; the first `rotary_embedding_dim` elements of each head are turned."""
    heads = node.attribute("num_heads", 0)
    flat = x.rank == 3
    if flat:
        x = t.permute(t.reshape(x, shape=(*x.shape[:2], heads, -1)), 0, 2, 1, 3)
    if positions is not None:
        cos, sin = t.gather(cos, positions, axis=0), t.gather(sin, positions, axis=0)
    cos, sin = cos[:, None], sin[:, None]  # [B, 1, S, width / 2]
    turned = rotated(x, cos, sin, node.attribute("rotary_embedding_dim", 0), bool(node.attribute("interleaved", 0)))
    return t.reshape(t.permute(turned, 0, 2, 1, 3), shape=(x.shape[0], x.shape[2], -1)) if flat else turned


def rotated(x: Any, cos: Any, sin: Any, width: int, interleaved: bool) -> Any:
    """Pairs of elements turned by angles; cos, sin [..., S, width / 2]."""
    size = x.shape[-1]
    width = width or size
    part, rest = (x, None) if width == size else (x[..., :width], x[..., width:])
    if interleaved:
        pairs = t.reshape(part, shape=(*part.shape[:-1], width // 2, 2))
        first, second = pairs[..., 0], pairs[..., 1]
        made = t.reshape(t.stack([first * cos - second * sin, first * sin + second * cos], axis=-1), shape=part.shape)
    else:
        first, second = part[..., :width // 2], part[..., width // 2:]
        made = t.concat([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return made if rest is None else t.concat([made, rest], axis=-1)


@importer("Attention", since=23)
def attention(node: OnnxNode, q: Any, k: Any, v: Any, mask: Any = None, past_key: Any = None, past_value: Any = None,
              lengths: Any = None) -> Any:
    if node.wants(3) or node.attribute("softmax_precision", 1) not in (1, 10, 16):
        raise UnsupportedError("gives the scores, too, or computes softmax in a type of its own; tgraph gives the mean of the values")
    flat = q.rank == 3
    if flat:
        q, k, v = (_heads(x, node.attribute(n)) for x, n in ((q, "q_num_heads"), (k, "kv_num_heads"), (v, "kv_num_heads")))
    new = k.shape[2]
    if past_key is not None:
        k, v = t.concat([past_key, k], axis=2), t.concat([past_value, v], axis=2)
    how: dict[str, Any] = {"scale": node.attribute("scale", None)}
    extra: dict[str, Any] = {}
    if lengths is not None:
        inside = t.range(stop=k.shape[2], dtype=i64)[None, :] < t.cast(lengths, dtype=i64)[:, None]
        extra["mask"] = inside[:, None, None, :]
    if mask is not None:
        if mask.shape[-1] != k.shape[2]:  # what lies beyond the mask is out of reach
            fill = False if mask.dtype.is_bool else float("-inf")
            mask = t.pad(mask, before=(0,) * mask.rank, after=(*[0] * (mask.rank - 1), k.shape[2] - mask.shape[-1]), fill_value=fill)
        while mask.rank < 4:
            mask = mask[None]
        if mask.dtype.is_bool:
            extra["mask"] = mask if "mask" not in extra else extra["mask"] & mask
        else:
            extra["bias"] = t.cast(mask, dtype=f32) if mask.dtype != f32 else mask
    cap = node.attribute("softcap", 0.0)
    causal = bool(node.attribute("is_causal", 0))
    offset = k.shape[2] - new if past_key is not None and causal else None
    if cap:
        y = _capped(q, k, v, cap, causal, offset, how["scale"], extra)
    else:
        if offset is not None:
            extra["offset"] = t.dim_size(size=offset, dtype=i64)
        y = t.attention(q, k, v, **extra, **{n: x for n, x in how.items() if x is not None}, causal=causal)
    if flat:
        y = t.reshape(t.permute(y, 0, 2, 1, 3), shape=(q.shape[0], q.shape[2], -1))
    return (y, k, v)[:max(node.results, 1)]


def _heads(x: Any, heads: int) -> Any:
    return t.permute(t.reshape(x, shape=(*x.shape[:2], heads, -1)), 0, 2, 1, 3)


def _capped(q: Any, k: Any, v: Any, cap: float, causal: bool, offset: Any, scale: float | None, extra: Any) -> Any:
    """Scores s become cap tanh(s / cap) before the softmax."""
    group = q.shape[1] // k.shape[1]
    if group != 1:
        k, v = (t.repeat_interleave(x, group, axis=1) for x in (k, v))
    scores = (q @ t.swapaxes(k, -1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = t.tanh(scores / cap) * cap
    if "bias" in extra:
        scores = scores + extra["bias"]
    mask = extra.get("mask")
    if causal:
        rows = t.range(stop=q.shape[2], dtype=i64)[:, None] + (0 if offset is None else t.dim_size(size=offset, dtype=i64))
        below = t.range(stop=k.shape[2], dtype=i64)[None, :] <= rows
        mask = below if mask is None else mask & below
    if mask is not None:
        scores = t.where(mask, scores, float("-inf"))
    return t.softmax(scores, axis=-1) @ v
