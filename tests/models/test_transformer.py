"""The Transformer: what it computes does not depend on padding, on later tokens, or on who runs it."""

from __future__ import annotations

import numpy as np

import tgraph as tg
from tgraph.models.transformer import Transformer

B, S, T = tg.dims("B S T")
SPECS = {"source": tg.i64[B, S], "target": tg.i64[B, T], "source_mask": tg.bool_[B, S], "target_mask": tg.bool_[B, T]}


def test_later_tokens_and_padding_change_nothing() -> None:
    graph = tg.trace(Transformer(9, 7, dim=8, heads=2, hidden=12, layers=1, max_length=8), **SPECS)
    source, target = np.array([[1, 2, 3, 8]]), np.array([[4, 5, 6]])
    seen = np.array([[True, True, True, False]])

    def scores(source: np.ndarray, target: np.ndarray, seen: np.ndarray) -> np.ndarray:
        feeds = {"source": source, "target": target, "source_mask": seen, "target_mask": np.ones(target.shape, bool)}
        return tg.reference.run(graph, feeds)["output"]

    first = scores(source, target, seen)
    assert first.shape == (1, 3, 7)
    np.testing.assert_allclose(scores(source[:, :3], target, seen[:, :3]), first, atol=1e-12)
    np.testing.assert_allclose(scores(source, np.array([[4, 5, 0]]), seen)[:, :2], first[:, :2], atol=1e-12)
    assert np.abs(scores(source, np.array([[4, 0, 6]]), seen)[:, 1:] - first[:, 1:]).max() > 1e-6
    assert np.abs(scores(np.array([[1, 2, 4, 8]]), target, seen) - first).max() > 1e-6


def test_compiled() -> None:
    graph = tg.trace(Transformer(9, 7, dim=8, heads=2, hidden=12, layers=2, max_length=16, norm_first=True), **SPECS)
    assert tg.check(tg.compile(graph, "cpu"))
