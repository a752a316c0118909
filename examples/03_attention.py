"""Attention in general: a query, keys and values give a weighted mean. Four ways to score a key against a query.

    python examples/03_attention.py
"""

import numpy as np

import tgraph as tg
from tgraph import nn

B, T, S = tg.dims("B T S")


class ByHand(nn.Module):
    """Multiplicative attention, (W q) . k, in three lines: scores, weights, mean."""

    def __init__(self, dim):
        self.project = nn.Linear(dim, dim, bias=False)

    def __call__(self, query, keys, values, mask):
        scores = tg.einsum(self.project(query), keys, equation="btd,bsd->bts")
        weights = tg.softmax(tg.where(mask[:, None], scores, -np.inf), axis=-1)
        return tg.einsum(weights, values, equation="bts,bsd->btd")


class Seen(nn.Module):
    """`nn.Attention`, and the weights that it gives each value."""

    def __init__(self, score):
        self.attention = nn.Attention(score, query_dim=16, key_dim=16, hidden=32)

    def __call__(self, query, keys, values, mask):
        weights = []
        mean = self.attention(query, keys, values, mask, weights)
        return {"mean": mean, "weights": weights[0]}


if __name__ == "__main__":
    specs = {"query": tg.f32[B, T, 16], "keys": tg.f32[B, S, 16], "values": tg.f32[B, S, 16], "mask": tg.bool_[B, S]}
    rng = np.random.default_rng(0)
    keys, values = rng.standard_normal((2, 2, 5, 16)).astype("float32")
    query = keys[:, 3:4]  # the query is the fourth key, so by products the fourth value weighs most
    mask = np.arange(5) < np.array([[5], [4]])
    for score in ("dot", "scaled_dot", "multiplicative", "additive"):
        exe = tg.compile(tg.trace(Seen(score), **specs))
        found = exe(query, keys, values, mask)
        print(f"{score:<15} weights of the first query: {np.round(found.weights[0, 0], 2)}")
        assert tg.check(exe) and found.weights[1, 0, 4] == 0
    graph = tg.trace(ByHand(16), **specs)
    print(graph, tg.optimize(graph), sep="\n")  # the compiler finds attention in the three lines: one op, one kernel
    assert [n.op.name for n in tg.optimize(graph).nodes].count("attention") == 1
