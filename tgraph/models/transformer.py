"""The Transformer of "Attention Is All You Need" (arXiv:1706.03762): encoder, decoder, one vocabulary each."""

from __future__ import annotations

import math

from .. import nn
from ..tensor import Tensor


class Transformer(nn.Module):
    """Sequence to sequence: source tokens [B, S] and the target so far [B, T] to scores [B, T, target_vocab]."""

    def __init__(self, source_vocab: int, target_vocab: int, dim: int = 512, heads: int = 8, hidden: int = 2048,
                 layers: int = 6, max_length: int = 512, norm_first: bool = False):
        self.dim = dim
        self.source_embedding = nn.Embedding(source_vocab, dim)
        self.target_embedding = nn.Embedding(target_vocab, dim)
        self.positions = nn.SinusoidalPositions(max_length, dim)
        self.encoder = nn.Encoder(layers, dim, heads, hidden, "relu", norm_first)
        self.decoder = nn.Decoder(layers, dim, heads, hidden, "relu", norm_first)
        self.generator = nn.Linear(dim, target_vocab)
        self.memory = nn.Memory(layers, heads, dim // heads)
        self.past = nn.Past(layers, heads, dim // heads)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Source tokens [B, S] to the memory [B, S, dim]."""
        return self.encoder(self.positions(self.source_embedding(source) * math.sqrt(self.dim)), source_mask)

    def decode(self, memory: Tensor, target: Tensor, source_mask: Tensor | None = None,
               target_mask: Tensor | None = None) -> Tensor:
        """Memory and the target tokens [B, T] to scores [B, T, target_vocab] for each next token."""
        x = self.positions(self.target_embedding(target) * math.sqrt(self.dim))
        return self.generator(self.decoder(x, memory, mask=target_mask, memory_mask=source_mask))

    def start(self, source: Tensor, source_mask: Tensor | None = None) -> None:
        """Read source tokens [B, S], for `step` to write a target from its first token on."""
        self.memory.fill(self.decoder.project(self.encode(source, source_mask)), source_mask)
        self.past.reset()

    def step(self, target: Tensor) -> Tensor:
        """The next target tokens [B, T] to scores [B, target_vocab] for the one after the last of them."""
        now = self.past.begin(target)
        x = self.positions(self.target_embedding(target) * math.sqrt(self.dim), now.positions)
        return self.generator(self.decoder.step(x, now, self.memory)[:, -1])

    def __call__(self, source: Tensor, target: Tensor, source_mask: Tensor | None = None,
                 target_mask: Tensor | None = None) -> Tensor:
        return self.decode(self.encode(source, source_mask), target, source_mask, target_mask)
