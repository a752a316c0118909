"""fuse-rotary on whole attentions, and on what the op is decomposed to."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from passes import ValidateEach, optimize
from tests.ops.samples import SAMPLES
from tests.ops.samples_rotary import by_halves, by_neighbours, turned
from tgraph.reference import generate_inputs, run

B, S = tg.dim("B"), tg.dim("S", max=64)
HEADS, HEAD_DIM = 2, 8
FREQUENCIES = (10000.0 ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)).astype(np.float32)
X = tg.f32[B, HEADS, S, HEAD_DIM]


def angles(length: Any) -> Any:
    return tg.unsqueeze(tg.range(stop=length, dtype=tg.f32), axes=-1) * FREQUENCIES


def rotate_half(x: Any) -> Any:
    first, second = x[..., :HEAD_DIM // 2], x[..., HEAD_DIM // 2:]
    return tg.concat(-second, first, axis=-1)


def with_wide_tables(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """As decoders of the Llama family are written: angles twice, then x cos + rotate_half(x) sin."""
    half = angles(q.shape[2])
    table = tg.concat(half, half, axis=-1)
    cos, sin = (tg.unsqueeze(f(table), axes=(0, 1)) for f in (tg.cos, tg.sin))
    q, k = ((x * cos) + (rotate_half(x) * sin) for x in (q, k))
    scores = q @ tg.transpose(k, perm=(0, 1, 3, 2)) / HEAD_DIM**0.5
    return tg.softmax(tg.where(tg.unsqueeze(mask, axes=(1, 2)), scores, float("-inf"))) @ v


def with_neighbours(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """As GPT-J is written: even and odd elements, stacked again; scaled before it turns."""
    cos, sin = tg.cos(angles(q.shape[2])), tg.sin(angles(q.shape[2]))

    def turn(x: Any) -> Any:
        even, odd = x[..., ::2], x[..., 1::2]
        both = [tg.unsqueeze(y, axes=-1) for y in (even * cos - odd * sin, odd * cos + even * sin)]
        return tg.concat(*both, axis=-1).reshape(*x.shape)

    scores = turn(q * HEAD_DIM**-0.5) @ tg.transpose(turn(k), perm=(0, 1, 3, 2))
    return tg.softmax(tg.where(tg.unsqueeze(mask, axes=(1, 2)), scores, float("-inf"))) @ v


@pytest.mark.parametrize(("variant", "pairs"), [(with_wide_tables, by_halves), (with_neighbours, by_neighbours)])
@pytest.mark.parametrize("prefix", ["", "decompose,"])
def test_attention_with_rotary_positions(variant: Any, pairs: Any, prefix: str) -> None:
    graph = tg.trace(variant, q=X, k=X, v=X, mask=tg.bool_[B, S])
    fused = optimize(graph, prefix + tg.passes.LEVELS["O2"], instruments=[ValidateEach()])
    found = Counter(n.op.name for n in fused.nodes)
    assert (found["attention"], found["rotary"], found["cos"], found["sin"]) == (1, 2, 1, 1)
    assert not {"softmax", "matmul", "concat", "slice", "neg", "where"} & set(found)
    attention = next(n for n in fused.nodes if n.op.name == "attention")
    assert attention.attrs["scale"] == 1 / math.sqrt(HEAD_DIM)
    assert all(v.shape[-1] == HEAD_DIM // 2 for n in fused.nodes if n.op.name == "rotary" for v in n.inputs[1:])

    feeds = generate_inputs(graph, {"B": 2, "S": 7})
    feeds["mask"][...] = True
    at = np.arange(7)[:, None] * FREQUENCIES
    q, k = (turned(feeds[n].astype(np.float64), np.cos(at), np.sin(at), pairs) for n in "qk")
    e = np.exp(np.einsum("bhid,bhjd->bhij", q, k) / HEAD_DIM**0.5)
    expected = np.einsum("bhij,bhjd->bhid", e / e.sum(-1, keepdims=True), feeds["v"])
    np.testing.assert_allclose(next(iter(run(fused, feeds).values())), expected, atol=1e-6)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.op == "rotary" and "attention" not in s.variant],
                         ids=lambda s: s.variant)
def test_a_decomposition_comes_back(sample: Any) -> None:
    graph = sample.graph()
    assert optimize(graph, "decompose,fuse-rotary,dce") == graph
