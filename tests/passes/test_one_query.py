"""Attention of one query whose heads share those of keys: such heads are no further positions where limits count these."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg

C = tg.dim("C", min=4)
LIMITS = {"causal": {"causal": True}, "window": {"window": (1, 0)}, "both": {"causal": True, "window": (1, 0)}, "none": {}}


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("queries", [1, 3])
def test_heads_that_share_keys_are_no_positions(limits: str, offset: bool, batch: int, queries: int) -> None:
    for keys in (4, C):
        types = {"q": tg.f32[batch, 4, queries, 8], "k": tg.f32[batch, 2, keys, 8], "v": tg.f32[batch, 2, keys, 8]}
        more = {"at": tg.i64[()]} if offset and limits != "none" else {}
        graph = tg.trace(lambda q, k, v, at=None: tg.attention(q, k, v, offset=at, **LIMITS[limits]), **types, **more)
        random = np.random.default_rng(0)
        feeds = {name: random.standard_normal([4 if d == C else d for d in t.shape]).astype("f") for name, t in types.items()}
        feeds |= {"at": np.array(1)} if more else {}
        before, after = (tg.reference.run(g, feeds)["output"] for g in (graph, tg.optimize(graph, "O3")))
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)
