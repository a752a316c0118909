"""`nn.Attention` against its four formulas, one query at a time in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.nn.scored_attention import SCORES

B, T, S = tg.dims("B T S")
RNG = np.random.default_rng(7)
QUERY, KEYS, VALUES = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 4), (2, 5, 4), (2, 5, 6)))
MASK = np.array([[True, True, False, True, False], [False] * 5])  # no key is left for the second sequence


def graph_of(score: str, mask: bool, see: bool = True) -> tg.Graph:
    attention = nn.Attention(score, query_dim=4, key_dim=4, hidden=7)
    for parameter in attention.parameters().values():
        parameter.data = RNG.standard_normal(parameter.type.shape).astype(np.float32)

    class Model(nn.Module):
        def __init__(self) -> None:
            self.attention = attention

        def __call__(self, query: tg.Tensor, keys: tg.Tensor, values: tg.Tensor,
                     mask: tg.Tensor | None = None) -> dict[str, tg.Tensor]:
            weights: list[tg.Tensor] | None = [] if see else None
            mean = self.attention(query, keys, values, mask, weights)
            return {"mean": mean, **({"weights": weights[0]} if weights else {})}

    return tg.trace(Model(), query=tg.f32[B, T, 4], keys=tg.f32[B, S, 4], values=tg.f32[B, S, 6],
                    **({"mask": tg.bool_[B, S]} if mask else {}))


def scored(graph: tg.Graph, score: str, query: np.ndarray, key: np.ndarray) -> float:
    w = {name.removeprefix("attention."): graph.weights[name].astype(float) for name in graph.parameters}
    q, k = query.astype(float), key.astype(float)
    if score == "additive":
        return (w["v.weight"] @ np.tanh(w["query.weight"] @ q + w["key.weight"] @ k)).item()
    q = w["project.weight"] @ q if score == "multiplicative" else q
    return float(q @ k) / (math.sqrt(4) if score == "scaled_dot" else 1)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_formula(score: str, mask: bool) -> None:
    graph = graph_of(score, mask)
    feeds = {"query": QUERY, "keys": KEYS, "values": VALUES, **({"mask": MASK} if mask else {})}
    found = tg.compile(graph, target="cpu" if mask else "numpy").run(feeds)
    for b in range(2):
        for t in range(3):
            e = np.array([math.exp(scored(graph, score, QUERY[b, t], key)) for key in KEYS[b]])
            e = e * MASK[b] if mask else e
            weights = e / e.sum() if e.any() else e
            assert np.abs(found["weights"][b, t] - weights).max() < 1e-5
            assert np.abs(found["mean"][b, t] - weights @ VALUES[b]).max() < 1e-5


def test_values_are_the_keys_by_default() -> None:
    model = nn.Attention("dot")
    graph = tg.trace(model, query=tg.f32[B, T, 4], keys=tg.f32[B, S, 4])
    both = tg.trace(model, query=tg.f32[B, T, 4], keys=tg.f32[B, S, 4], values=tg.f32[B, S, 4])
    one = tg.reference.run(graph, {"query": QUERY, "keys": KEYS})["output"]
    assert np.array_equal(one, tg.reference.run(both, {"query": QUERY, "keys": KEYS, "values": KEYS})["output"])


def test_a_mask_of_each_query() -> None:
    graph = tg.trace(nn.Attention("additive", 4, 4), query=tg.f32[B, T, 4], keys=tg.f32[B, S, 4], values=tg.f32[B, S, 6],
                     mask=tg.bool_[B, T, S])
    mask = np.zeros((2, 3, 5), bool)
    mask[:, 0, 3] = mask[:, 1, 4] = True  # the first query sees the fourth key alone, the second the fifth, the third none
    y = tg.reference.run(graph, {"query": QUERY, "keys": KEYS, "values": VALUES, "mask": mask})["output"]
    assert np.allclose(y, np.stack([VALUES[:, 3], VALUES[:, 4], np.zeros((2, 6))], axis=1))


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "multiplicative"])
def test_products_of_query_and_key_are_one_attention(score: str) -> None:
    ops = [n.op.name for n in tg.optimize(graph_of(score, True, see=False)).nodes]
    assert ops.count("attention") == 1 and "softmax" not in ops


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(tg.TraceError, match="scores are dot, scaled_dot, multiplicative, additive"):
        nn.Attention("cosine")
    with pytest.raises(tg.TraceError, match="needs query_dim= and key_dim="):
        nn.Attention("additive", 4)
    with pytest.raises(tg.TraceError, match=r"query must be \[batch, length, size\]"):
        tg.trace(nn.Attention(), query=tg.f32[B, 4], keys=tg.f32[B, S, 4])
    with pytest.raises(tg.TraceError, match="mask must be"):
        tg.trace(nn.Attention(), query=tg.f32[B, T, 4], keys=tg.f32[B, S, 4], mask=tg.bool_[B, 1, T, S])
