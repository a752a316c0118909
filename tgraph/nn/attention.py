"""Multi-head attention: self or cross, with padding, causal and additive masks, and grouped key heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..current_tracer import apply, build
from ..module import Module
from ..ops.attention import EmptyRow, build_weights
from ..tensor import Tensor
from ..user_code import model_error
from .basic import Linear

if TYPE_CHECKING:
    from .past import MemoryOfLayer, PastOfLayer
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


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None, bias: Tensor | None = None,
                      scale: float | None = None, causal: bool = False, window: tuple[int, int] | None = None,
                      empty_row: EmptyRow = "uniform") -> Tensor:
    """The weights [B, H, Sq, Sk] that the op `attention` of these operands gives the values, for those who want to see them.

    query, key [B, H, S, D]; the rest as in the op. Each row sums to 1, that of a query with no key left by equal weights, as
    transformers shows them; empty_row="zero" gives zeros.
    """
    head_dim = query.shape[-1]
    assert isinstance(head_dim, int)
    result: Tensor = build("attention_weights", build_weights, query, key, mask, bias, None, causal=causal, window=window,
                           scale=head_dim ** -0.5 if scale is None else scale, empty_row=empty_row, softcap=0.0)
    return result


class DotProductAttention(Module):
    """Attention between projections: splits queries, keys and values into heads, turns, attends, and merges the heads again.

    It has no parameters, so that models can name their projections as their checkpoints do. All that depends on where a query
    stands among the keys is here.

    kv_heads < heads shares each key and value head (arXiv:2305.13245). causal: a query sees the keys up to its own place.
    window: it sees no key that is `window` or more places away (arXiv:2004.05150).
    """

    heads: int
    kv_heads: int
    causal: bool
    window: int | None
    scale: float | None

    def __init__(self, heads: int, kv_heads: int | None = None, *, causal: bool = False, window: int | None = None,
                 scale: float | None = None):
        self.heads, self.kv_heads = heads, heads if kv_heads is None else kv_heads
        if heads < 1 or self.kv_heads < 1 or heads % self.kv_heads:
            raise model_error(f"DotProductAttention(heads={heads}, kv_heads={kv_heads}): {self.kv_heads} key heads do not divide "
                              f"{heads} query heads")
        self.causal, self.window, self.scale = causal, window, scale

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, bias: Tensor | None = None,
                 rotation: tuple[Tensor, Tensor] | None = None, weights: list[Tensor] | None = None,
                 past: PastOfLayer | None = None) -> Tensor:
        """query [B, Sq, heads * D], key and value [B, Sk, kv_heads * D] to [B, Sq, heads * D].

        mask: bool, True = attend, [B, Sk], [B, Sq, Sk] or [B, heads, Sq, Sk]; bias: added to the scaled scores;
        rotation: cos and sin of `RotaryAngles` for queries and keys; weights: a list that takes `attention_weights`.
        past: these are new tokens, which attend to those before them as well, causally, and by the mask of the past.
        """
        query, (key, value) = split_heads(query, self.heads), self.project(key, value)
        if rotation is not None:
            query, key = (apply("rotary", x, *rotation) for x in (query, key))
        window = None if self.window is None else (self.window - 1, self.window - 1)
        if past is not None:
            return merge_heads(past.attend(query, key, value, bias, scale=self.scale, window=window))
        if weights is not None:
            weights.append(attention_weights(query, key, mask, bias, self.scale, self.causal, window))
        return merge_heads(apply("attention", query, key, value, mask, bias, scale=self.scale, causal=self.causal, window=window))

    def project(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, S, kv_heads * D] by head, [B, kv_heads, S, D], as `Memory.fill` takes them."""
        return split_heads(key, self.kv_heads), split_heads(value, self.kv_heads)

    def recall(self, query: Tensor, memory: MemoryOfLayer) -> Tensor:
        """Queries [B, Sq, heads * D] that attend to the keys and values of a memory."""
        return merge_heads(memory.attend(split_heads(query, self.heads), scale=self.scale))


class MultiHeadAttention(Module):
    """Multi-head attention (arXiv:1706.03762, section 3.2.2) with linear maps `query`, `key`, `value` and `output`.

    kv_heads < heads shares each key and value head among heads / kv_heads query heads (arXiv:2305.13245). softcap > 0 bounds the
    scores, and window = (left, right) limits how far a position sees, as `attention` says.
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    heads: int
    kv_heads: int
    head_dim: int
    rotary: RotaryPositions | None
    softcap: float
    window: tuple[int, int] | None

    def __init__(self, dim: int, heads: int, kv_heads: int | None = None, bias: bool = True,
                 rotary: RotaryPositions | None = None, softcap: float = 0.0,
                 window: tuple[int, int] | None = None):
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
        self.rotary, self.softcap, self.window = rotary, softcap, window

    def __call__(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, causal: bool = False,
                 bias: Tensor | None = None, past: PastOfLayer | None = None, memory: MemoryOfLayer | None = None) -> Tensor:
        """x [B, Sq, dim] attends to context [B, Sk, dim] (default: itself).

        mask: bool, True = attend, [B, Sk], [B, Sq, Sk] or [B, heads, Sq, Sk]; bias: added to the scaled scores.
        past: x are new tokens, which attend to those before them as well, causally; memory: they attend to keys and values that
        `project` made. Both bring their own masks.
        """
        query = split_heads(self.query(x), self.heads)
        if memory is not None:
            return self.output(merge_heads(memory.attend(query, softcap=self.softcap)))
        key, value = self.project(x if context is None else context)
        if self.rotary is not None:
            positions = None if past is None else past.positions
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        limits: dict[str, Any] = {"softcap": self.softcap, "window": self.window}
        if past is not None:
            return self.output(merge_heads(past.attend(query, key, value, bias, **limits)))
        return self.output(merge_heads(apply("attention", query, key, value, mask, bias, causal=causal, **limits)))

    def project(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, kv_heads, Sk, head_dim] of context [B, Sk, dim]."""
        return split_heads(self.key(context), self.kv_heads), split_heads(self.value(context), self.kv_heads)
