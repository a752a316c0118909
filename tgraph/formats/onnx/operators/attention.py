"""Attention and rotary embedding as opset 23 defines them."""

from __future__ import annotations

from typing import Any

from ..node import OnnxNode, element_type
from ..registry import importer
from .language import t
from .scaled_dot_product import Positions, four_axes, joined_heads, scaled_dot_product, split_heads, up_to


@importer("RotaryEmbedding", since=23)
def rotary_embedding(node: OnnxNode, x: Any, cos: Any, sin: Any, positions: Any = None) -> Any:
    """x [B, H, S, D], or [B, S, H D]; the first `rotary_embedding_dim` elements of each head are turned."""
    heads = node.attribute("num_heads", 0)
    flat = x.rank == 3
    if flat:
        x = split_heads(x, heads)
    if positions is not None:
        cos, sin = t.gather(cos, positions, axis=0), t.gather(sin, positions, axis=0)
    cos, sin = cos[:, None], sin[:, None]  # [B, 1, S, width / 2]
    turned = rotated(x, cos, sin, node.attribute("rotary_embedding_dim", 0), bool(node.attribute("interleaved", 0)))
    return joined_heads(turned) if flat else turned


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
    """Opset 24 has `lengths`, and queries then count as the last of their sequence; opset 25 has windows."""
    flat = q.rank == 3
    if flat:
        heads, key_heads = node.attribute("q_num_heads"), node.attribute("kv_num_heads")
        q, k, v = split_heads(q, heads), split_heads(k, key_heads), split_heads(v, key_heads)
    offset: Any = 0
    if past_key is not None:
        offset = past_key.shape[2]
        k, v = t.concat([past_key, k], axis=2), t.concat([past_value, v], axis=2)
    elif lengths is not None:
        offset = lengths - t.dim_size(size=q.shape[2], dtype=lengths.dtype)
    allowed = None if lengths is None else up_to(lengths, k.shape[2])
    bias = None
    if mask is not None:
        mask = four_axes(mask, k.shape[2])
        if mask.dtype.is_bool:
            allowed = mask if allowed is None else allowed & mask
        else:
            bias = mask
    left, right = (node.attribute(f"{side}_window_size", -1) for side in ("left", "right"))
    right = 0 if node.attribute("is_causal", 0) else right
    places = Positions(None if left < 0 else left, None if right < 0 else right, offset)
    precision = node.attribute("softmax_precision", None)
    y, scores = scaled_dot_product(
        q, k, v, mask=allowed, bias=bias, positions=places, scale=node.attribute("scale", None),
        softcap=node.attribute("softcap", 0.0), precision=None if precision is None else element_type(precision),
        scores=node.attribute("qk_matmul_output_mode", 0) if node.wants(3) else None)
    return (joined_heads(y) if flat else y, k, v, scores)[:max(node.results, 1)]
