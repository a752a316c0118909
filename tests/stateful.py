"""Small models with states, for the tests of sessions on all targets."""

from __future__ import annotations

from typing import Any

import numpy as np

import tgraph as tg
from tgraph import nn

B, T, C, S = tg.dims("B T C S")
HEADS, HEAD_DIM, DIM = 2, 4, 8


class Counter(nn.Module):
    """Gives 10, 20, 30, ..., call by call."""

    def __init__(self) -> None:
        self.count = nn.State(tg.i64[()])

    def __call__(self) -> tg.Tensor:
        self.count.value = self.count + 1
        return self.count * 10


class Attending(nn.Module):
    """Causal attention over a cache, memory that another graph writes whole, and a sum that is not updated in place."""

    def __init__(self) -> None:
        self.qkv, self.memory = nn.Linear(DIM, 3 * DIM), nn.State(tg.f32[B, S, DIM])
        self.k, self.v = (nn.State(tg.f32[B, HEADS, C, HEAD_DIM]) for _ in range(2))
        self.position, self.sum = nn.State(tg.i64[()]), nn.State(tg.f32[B, DIM])

    def encode(self, source: tg.Tensor) -> None:
        self.memory.value = tg.tanh(source)

    def step(self, x: tg.Tensor) -> dict[str, Any]:
        q, k, v = (nn.split_heads(part, HEADS) for part in self.qkv(x).chunk(3, axis=-1))
        self.k.value = tg.update_slice(self.k, k, self.position, axis=2)
        self.v.value = tg.update_slice(self.v, v, self.position, axis=2)
        y = nn.merge_heads(tg.attention(q, self.k, self.v, offset=self.position, causal=True))
        self.position.value = self.position + x.shape[1]
        self.sum.value = self.sum + x.sum(1)
        return {"y": y + self.memory.value.mean(1, keepdims=True), "total": self.sum}


def program() -> tg.Program:
    return tg.trace_program(Attending(), encode=tg.f32[B, S, DIM], step={"x": tg.f32[B, T, DIM]})


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("f")
