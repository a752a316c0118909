"""The example of docs/functions.md is attention."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

import tgraph as tg

PAGE = Path(__file__).resolve().parents[2] / "docs" / "functions.md"
B, S = tg.dims("B S")


def test_the_example_is_attention() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = code.replace("q = q.view", "k, v = (t.view(batch, length, heads, -1).transpose(1, 2) for t in (k, v))\nq = q.view")

    def model(x: Any, y: Any, qkv: Any, mask: Any) -> Any:
        scope = {"tg": tg, "x": x, "y": y, "qkv": qkv, "mask": mask, "batch": x.shape[0], "length": x.shape[1], "heads": 2}
        exec(lines, scope)
        return scope["x"], scope["y"]

    def fused(qkv: Any, mask: Any) -> Any:
        q, k, v = (t.reshape(*t.shape[:2], 2, 4).permute(0, 2, 1, 3) for t in qkv.chunk(3, -1))
        return tg.attention(q, k, v, mask).permute(0, 2, 1, 3).flatten(2)

    graph = tg.trace(model, x=tg.f32[B, S, 4], y=tg.f32[B, S, 2], qkv=tg.f32[B, S, 24], mask=tg.bool_[B, S])
    g = np.random.default_rng(0)
    x, y, qkv = (g.standard_normal((2, 5, n)).astype("float32") for n in (4, 2, 24))
    mask = np.arange(5) < np.array([[5], [3]])
    joined, attended = tg.compile(graph, "numpy")(x, y, qkv, mask)
    assert np.array_equal(joined, np.concatenate([x, y], -1))
    expected = tg.compile(tg.trace(fused, qkv=tg.f32[B, S, 24], mask=tg.bool_[B, S]), "numpy")(qkv, mask)
    np.testing.assert_allclose(attended, expected, rtol=1e-5, atol=1e-6)
    assert any(n.op.name == "attention" for n in tg.optimize(graph).nodes)
