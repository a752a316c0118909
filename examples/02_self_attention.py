"""Self-attention as matrix products, and the same as one kernel.

    python examples/02_self_attention.py
"""

import math

import numpy as np

import tgraph as tg
from tgraph import nn

B, S = tg.dims("B S")


class SelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V with Q, K, V linear maps of the same input (arXiv:1706.03762, section 3.2.1)."""

    def __init__(self, dim):
        self.dim = dim
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))

    def __call__(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ tg.transpose(k, perm=(0, 2, 1)) / math.sqrt(self.dim)
        return tg.softmax(scores) @ v


class Fused(SelfAttention):
    """The same formula by the `attention` op, which never holds all S x S scores."""

    def __call__(self, x):
        q, k, v = (tg.unsqueeze(project(x), axes=1) for project in (self.query, self.key, self.value))
        return tg.squeeze(tg.attention(q, k, v), axes=1)


if __name__ == "__main__":
    products = SelfAttention(64)
    graph = tg.trace(products, x=tg.f32[B, S, 64])
    print(tg.optimize(graph))  # three projections have become one product, and the rest one attention
    fused = Fused(64)
    fused.query, fused.key, fused.value = products.query, products.key, products.value
    x = np.random.default_rng(0).standard_normal((2, 10, 64)).astype("float32")
    one, other = (tg.compile(tg.trace(model, x=tg.f32[B, S, 64]))(x) for model in (products, fused))
    print("largest difference:", np.abs(one - other).max())
    assert np.abs(one - other).max() < 1e-5
