"""Attention in general: a query, keys and values give a weighted mean. Three ways to score a key against a query.

    python examples/01_attention.py
"""

import numpy as np

import tgraph as tg
from tgraph import nn

B, S = tg.dims("B S")


def dot_product(query, key):
    """q . k (arXiv:1508.04025): query [B, D], key [B, S, D] to scores [B, S]."""
    return tg.einsum(query, key, equation="bd,bsd->bs")


class Multiplicative(nn.Module):
    """q^T W k (arXiv:1508.04025), which lets the sizes of query and key differ."""

    def __init__(self, query_dim, key_dim):
        self.weight = nn.Linear(query_dim, key_dim, bias=False)

    def __call__(self, query, key):
        return dot_product(self.weight(query), key)


class Additive(nn.Module):
    """v . tanh(W q + U k) (arXiv:1409.0473)."""

    def __init__(self, query_dim, key_dim, hidden):
        self.query, self.key = nn.Linear(query_dim, hidden), nn.Linear(key_dim, hidden, bias=False)
        self.v = nn.Linear(hidden, 1, bias=False)

    def __call__(self, query, key):
        hidden = tg.tanh(tg.unsqueeze(self.query(query), axes=1) + self.key(key))
        return tg.squeeze(self.v(hidden), axes=-1)


class Attention(nn.Module):
    """softmax(score(query, keys)) as weights of a mean of the values; padding gets no weight."""

    def __init__(self, score):
        self.score = score

    def __call__(self, query, key, value, mask):
        scores = tg.where(mask, self.score(query, key), -np.inf)
        weights = tg.softmax(scores, axis=-1)
        return {"mean": tg.einsum(weights, value, equation="bs,bsd->bd"), "weights": weights}


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    key, value = rng.standard_normal((2, 2, 5, 16)).astype("float32")
    query = key[:, 3]  # the query is the fourth key, so the fourth value should weigh most
    mask = np.arange(5) < np.array([[5], [4]])
    for score in (dot_product, Multiplicative(16, 16), Additive(16, 16, 32)):
        attention = Attention(score)
        graph = tg.trace(attention, query=tg.f32[B, 16], key=tg.f32[B, S, 16], value=tg.f32[B, S, 16], mask=tg.bool_[B, S])
        exe = tg.compile(graph)
        result = exe(query, key, value, mask)
        name = getattr(score, "__name__", type(score).__name__)
        print(f"{name:<16} weights of the first query: {np.round(result.weights[0], 2)}")
        assert tg.check(exe) and result.weights[1, 4] == 0
