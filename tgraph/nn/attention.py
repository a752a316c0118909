"""Multi-head attention: self or cross, with padding, causal and additive masks, and grouped key heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..current_tracer import apply
from ..module import Module
from ..tensor import Tensor
from ..user_code import model_error
from .basic import Linear

if TYPE_CHECKING:
    from .positions import RotaryPositions


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, S, heads * D] to [B, heads, S, D]. Raises TraceError if the heads do not divide the last axis."""
    batch, length, width = x.shape
    if isinstance(width, int) and width % heads:
        raise model_error(f"split_heads({x!r}, {heads}): {heads} heads do not divide the hidden size {width}")
    return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Tensor) -> Tensor:
    """[B, heads, S, D] to [B, S, heads * D]."""
    batch, heads, length, head_dim = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * head_dim)


class MultiHeadAttention(Module):
    """Multi-head attention (arXiv:1706.03762, section 3.2.2) with linear maps `query`, `key`, `value` and `output`.

    kv_heads < heads shares each key and value head among heads / kv_heads query heads (arXiv:2305.13245).
    """

    def __init__(self, dim: int, heads: int, kv_heads: int | None = None, bias: bool = True,
                 rotary: RotaryPositions | None = None):
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or dim % heads:
            raise model_error(f"MultiHeadAttention(dim={dim}, heads={heads}): {heads} heads do not divide the hidden size {dim}")
        if kv_heads < 1 or heads % kv_heads:
            raise model_error(f"MultiHeadAttention(dim={dim}, heads={heads}, kv_heads={kv_heads}): "
                              f"{kv_heads} key heads do not divide {heads} query heads")
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.query = Linear(dim, dim, bias)
        self.key = Linear(dim, kv_heads * self.head_dim, bias)
        self.value = Linear(dim, kv_heads * self.head_dim, bias)
        self.output = Linear(dim, dim, bias)
        self.rotary = rotary

    def __call__(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, causal: bool = False,
                 bias: Tensor | None = None) -> Tensor:
        """x [B, Sq, dim] attends to context [B, Sk, dim] (default: itself).

        mask: bool, True = attend, [B, Sk], [B, Sq, Sk] or [B, heads, Sq, Sk]; bias: added to the scaled scores.
        """
        source = x if context is None else context
        query = split_heads(self.query(x), self.heads)
        key = split_heads(self.key(source), self.kv_heads)
        value = split_heads(self.value(source), self.kv_heads)
        if self.rotary is not None:
            query, key = self.rotary(query), self.rotary(key)
        return self.output(merge_heads(apply("attention", query, key, value, mask, bias, causal=causal)))
