"""Special inputs: what is made follows from the graph, and finds what ordinary inputs do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from passes import Pass, PassManager, ValidateEach
from tgraph.reference import special_inputs

B, S = tg.dims("B S")
LOWEST = float(np.finfo(np.float32).min)


def masked(s: Any, bias: Any, pad: Any, n: Any) -> Any:
    scores = tg.where(tg.unsqueeze(pad, axes=1), s * 2.0 + bias, LOWEST)
    return tg.softmax(scores) + tg.cast(tg.unsqueeze(n, axes=(1, 2)), dtype=tg.f32)


def graph() -> tg.Graph:
    return tg.trace(masked, s=tg.f32[B, S, S], bias=tg.f32[B, S, S], pad=tg.bool_[B, S], n=tg.i32[B])


def test_every_kind_is_made() -> None:
    made = list(special_inputs(graph()))
    kinds = {s.kind: [t for t in made if t.kind == s.kind] for s in made}
    assert set(kinds) == {"masks", "fills", "edges", "huge", "nan", "infinite"}
    rows = [row for s in kinds["masks"] for row in s.feeds["pad"]]
    assert any(not row.any() for row in rows) and any(row.sum() == 1 for row in rows)
    assert any(row.any() and not row[0] and row[-1] for row in rows) and any(row.any() and row[0] and not row[-1] for row in rows)
    filled = np.concatenate([s.feeds[n].ravel() for s in kinds["fills"] for n in ("s", "bias")])
    assert {np.float32(LOWEST), np.float32(-np.inf), np.float32(-LOWEST)} <= set(filled)
    edges = kinds["edges"][0].feeds
    assert np.signbit(edges["s"][edges["s"] == 0]).any() and (np.abs(edges["s"][edges["s"] != 0]) < 1e-38).any()
    assert np.isnan(kinds["nan"][0].feeds["bias"]).any() and np.isinf(kinds["infinite"][0].feeds["bias"]).any()


def test_indices_and_ranges_are_respected() -> None:
    indexed = tg.trace(lambda i, j, t: tg.embedding(i, t) + tg.cast(j, dtype=tg.f32), i=tg.i64[B], j=tg.i64[B].range(3, 5),
                       t=tg.f32[9])
    for special in special_inputs(indexed):
        assert set(special.feeds["i"]) <= set(range(9)) and set(special.feeds["j"]) <= {3, 4}, special.label


def test_minus_infinity_stands_where_a_mask_may_have_it() -> None:
    """In scores, but not in values, nor in what is negated on the way to softmax."""
    t, low = tg.f32[B, S, 4], -np.inf
    for model, has in ((lambda x, y: tg.softmax(x + y), True), (lambda x, y: tg.softmax(y - x), False),
                       (lambda x, y: tg.softmax(y) * tg.matmul(x + y, np.ones((4, 4), np.float32)), False)):
        fills = [s.feeds["x"] for s in special_inputs(tg.trace(model, x=t, y=t)) if s.kind == "fills" and "'x'" in s.label]
        assert any(low in x for x in fills) == has


@dataclass(frozen=True)
class IgnoresTheSpecial(Pass):
    """where(c, 0, x) = x: right as long as c is about what ordinary inputs are not."""

    effect = "rounds"

    def apply(self, graph: tg.Graph) -> None:
        for node in [n for n in graph.nodes if n.op.name == "where"]:
            graph.replace(node.result, node.inputs[2])


@pytest.mark.parametrize(("model", "label"), [
    (lambda x: tg.where(tg.isnan(x), 0.0, x), "with NaN"),
    (lambda x: tg.where(tg.isinf(x), 0.0, x), "with "),
    (lambda x: tg.softmax(tg.where(x < LOWEST / 2, 0.0, x)), "with fills of masks in 'x'"),
    (lambda x: tg.where(x > 1e11, 0.0, x), "with ")])
def test_validation_finds_what_is_special(model: Any, label: str) -> None:
    with pytest.raises(tg.PassError, match=f"pass ignores-the-special .* differs at .* {label}"):
        PassManager([IgnoresTheSpecial()], [ValidateEach()]).run(tg.trace(model, x=tg.f32[B, S]))


def added_inside(q: Any, k: Any, v: Any, pad: Any) -> Any:
    """Causality added and padding selected, with one fill."""
    position = tg.range(stop=q.shape[2])
    causal = tg.where(position[None, :] <= position[:, None], 0.0, LOWEST)
    scores = q @ k.transpose(0, 1, 3, 2) * 0.5 + causal
    return tg.softmax(tg.where(pad[:, None, None, :], scores, LOWEST)) @ v


def test_a_query_whose_keys_are_all_filled_one_way_or_another_weighs_all_alike() -> None:
    t = tg.f32[B, 2, S, 4]
    graph = tg.trace(added_inside, q=t, k=t, v=t, pad=tg.bool_[B, S])
    PassManager("O3", [ValidateEach()]).run(graph)
    executable = tg.compile(graph, "cpu")
    assert any(n.op.name == "attention" for n in executable.optimized.nodes) and tg.check(executable)
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, 5, 4)).astype(np.float32) for _ in "qkv")
    y = executable(q, k, v, np.array([[False, False, True, True, True]]))
    np.testing.assert_allclose(y[:, :, 0], v.mean(axis=2), atol=1e-6)
    np.testing.assert_allclose(y[:, :, 2], v[:, :, 2], atol=1e-6)
