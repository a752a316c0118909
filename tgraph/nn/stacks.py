"""Transformer layers and stacks of them, with the normalisation after (as published) or before each part."""

from __future__ import annotations

from collections.abc import Callable

from ..module import Module
from ..tensor import Tensor
from .attention import MultiHeadAttention
from .basic import LayerNorm
from .feed_forward import FeedForward
from .past import Memory, MemoryOfLayer, PastOfLayer, Progress


class EncoderLayer(Module):
    """Self-attention, then a feed-forward network, each in a residual branch (arXiv:1706.03762, section 3.1).

    norm_first normalises what goes into a branch instead of its sum (arXiv:2002.04745).
    """

    attention: MultiHeadAttention
    norm1: LayerNorm
    ffn: FeedForward
    norm2: LayerNorm
    norm_first: bool

    def __init__(self, dim: int, heads: int, hidden: int, activation: str = "gelu", norm_first: bool = False,
                 epsilon: float = 1e-5):
        self.attention = MultiHeadAttention(dim, heads)
        self.norm1 = LayerNorm(dim, epsilon)
        self.ffn = FeedForward(dim, hidden, activation)
        self.norm2 = LayerNorm(dim, epsilon)
        self.norm_first = norm_first

    def __call__(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """x [B, S, dim]; mask as in MultiHeadAttention."""
        if self.norm_first:
            x = x + self.attention(self.norm1(x), mask=mask, causal=causal)
            return x + self.ffn(self.norm2(x))
        x = self.norm1(x + self.attention(x, mask=mask, causal=causal))
        return self.norm2(x + self.ffn(x))


class DecoderLayer(Module):
    """Causal self-attention, attention to the encoder's output, feed-forward, each in a residual branch."""

    attention: MultiHeadAttention
    norm1: LayerNorm
    cross_attention: MultiHeadAttention
    norm2: LayerNorm
    ffn: FeedForward
    norm3: LayerNorm
    norm_first: bool

    def __init__(self, dim: int, heads: int, hidden: int, activation: str = "gelu", norm_first: bool = False,
                 epsilon: float = 1e-5):
        self.attention = MultiHeadAttention(dim, heads)
        self.norm1 = LayerNorm(dim, epsilon)
        self.cross_attention = MultiHeadAttention(dim, heads)
        self.norm2 = LayerNorm(dim, epsilon)
        self.ffn = FeedForward(dim, hidden, activation)
        self.norm3 = LayerNorm(dim, epsilon)
        self.norm_first = norm_first

    def __call__(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None) -> Tensor:
        """x [B, T, dim] with its mask, memory [B, S, dim] with its own."""
        return self._layer(x, lambda x: self.attention(x, mask=mask, causal=True),
                           lambda x: self.cross_attention(x, memory, mask=memory_mask))

    def step(self, x: Tensor, past: PastOfLayer, memory: MemoryOfLayer) -> Tensor:
        """New tokens x [B, T, dim] after those of the past."""
        return self._layer(x, lambda x: self.attention(x, past=past), lambda x: self.cross_attention(x, memory=memory))

    def _layer(self, x: Tensor, attend: Callable[[Tensor], Tensor], attend_to_memory: Callable[[Tensor], Tensor]) -> Tensor:
        for norm, branch in ((self.norm1, attend), (self.norm2, attend_to_memory), (self.norm3, self.ffn)):
            x = x + branch(norm(x)) if self.norm_first else norm(x + branch(x))
        return x


class Encoder(Module):
    """A stack of encoder layers; with norm_first one more normalisation at the end."""

    layer: list[EncoderLayer]
    norm: LayerNorm | None

    def __init__(self, layers: int, dim: int, heads: int, hidden: int, activation: str = "gelu",
                 norm_first: bool = False, epsilon: float = 1e-5):
        self.layer = [EncoderLayer(dim, heads, hidden, activation, norm_first, epsilon) for _ in range(layers)]
        self.norm = LayerNorm(dim, epsilon) if norm_first else None

    def __call__(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask=mask, causal=causal)
        return x if self.norm is None else self.norm(x)


class Decoder(Module):
    """A stack of decoder layers; with norm_first one more normalisation at the end."""

    layer: list[DecoderLayer]
    norm: LayerNorm | None

    def __init__(self, layers: int, dim: int, heads: int, hidden: int, activation: str = "gelu",
                 norm_first: bool = False, epsilon: float = 1e-5):
        self.layer = [DecoderLayer(dim, heads, hidden, activation, norm_first, epsilon) for _ in range(layers)]
        self.norm = LayerNorm(dim, epsilon) if norm_first else None

    def __call__(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None) -> Tensor:
        for layer in self.layer:
            x = layer(x, memory, mask=mask, memory_mask=memory_mask)
        return x if self.norm is None else self.norm(x)

    def project(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of memory [B, S, dim] for the attention of each layer to it: what `Memory.fill` takes."""
        return [layer.cross_attention.project(memory) for layer in self.layer]

    def step(self, x: Tensor, progress: Progress, memory: Memory) -> Tensor:
        """New tokens x [B, T, dim] after those of the past."""
        for number, layer in enumerate(self.layer):
            x = layer.step(x, progress.layer(number), memory.layer(number))
        return x if self.norm is None else self.norm(x)
