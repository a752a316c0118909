"""A small decoder with a past, for the tests of generation."""

from __future__ import annotations

import zlib

import numpy as np

import tgraph as tg
from tgraph import nn

B, T, C = tg.dims("B T C")
LAYERS, HEADS, HEAD_DIM, DIM, PLACES = 2, 2, 8, 16, 64


class LanguageModel(nn.Module):
    """Causal self-attention and a feed-forward network in each layer, on learned positions."""

    def __init__(self, vocabulary: int = 23):
        self.tokens, self.places = nn.Embedding(vocabulary, DIM), nn.Embedding(PLACES, DIM)
        self.qkv = [nn.Linear(DIM, 3 * DIM) for _ in range(LAYERS)]
        self.output = [nn.Linear(DIM, DIM) for _ in range(LAYERS)]
        self.ffn = [nn.FeedForward(DIM, 2 * DIM) for _ in range(LAYERS)]
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, vocabulary)
        self.past = nn.Past(LAYERS, HEADS, HEAD_DIM)
        for name, parameter in self.parameters().items():  # large positions, so that the best token changes
            random = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(parameter.shape).astype("f")
            parameter.data = random * np.float32(0 if "bias" in name else 2.5 if "places" in name else 0.7)

    def __call__(self, tokens: tg.Tensor, mask: tg.Tensor | None = None, positions: tg.Tensor | None = None) -> tg.Tensor:
        """Scores [B, T, vocabulary] without a past."""
        x = self.tokens(tokens) + self.places(tg.range(stop=tokens.shape[1]) if positions is None else positions)
        for i in range(LAYERS):
            q, k, v = (nn.split_heads(part, HEADS) for part in self.qkv[i](self.norm(x)).chunk(3, axis=-1))
            x = x + self.output[i](nn.merge_heads(tg.attention(q, k, v, mask, causal=True)))
            x = x + self.ffn[i](self.norm(x))
        return self.head(self.norm(x))

    def step(self, tokens: tg.Tensor, mask: tg.Tensor | None = None) -> tg.Tensor:
        """Scores [B, vocabulary] after the last of these tokens, and all before them."""
        now = self.past.begin(tokens, mask)
        x = self.tokens(tokens) + self.places(now.positions)
        for i in range(LAYERS):
            q, k, v = (nn.split_heads(part, HEADS) for part in self.qkv[i](self.norm(x)).chunk(3, axis=-1))
            x = x + self.output[i](nn.merge_heads(now.layer(i).attend(q, k, v)))
            x = x + self.ffn[i](self.norm(x))
        return self.head(self.norm(x[:, -1]))


def stepping(masked: bool, vocabulary: int = 23) -> tg.Program:
    specs = {"tokens": tg.i64[B, T], **({"mask": tg.bool_[B, T]} if masked else {})}
    return tg.trace_program(LanguageModel(vocabulary), step=specs)
