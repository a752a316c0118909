"""A user's own ops are optimised like ours: they have declared what is to be known of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tests.plugin_ops import plugin_ops

B, S = tg.dims("B S")


@pytest.fixture(autouse=True)
def ops() -> Iterator[None]:
    with plugin_ops():
        yield


def names(graph: tg.Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


def agree(before: tg.Graph, after: tg.Graph, **feeds: Any) -> bool:
    """Whether two graphs give the same numbers."""
    x, y = (tg.reference.run(g, feeds) for g in (before, after))
    return all(np.allclose(x[name], y[name], rtol=1e-9, atol=1e-9, equal_nan=True) for name in x)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def test_transposes_move_across_an_elementwise_and_a_row_wise_op() -> None:
    def function(x: Any) -> Any:
        return tg.transpose(tg.centre(tg.third_power(tg.transpose(x, perm=(1, 0, 2)))), perm=(1, 0, 2))

    graph = tg.trace(function, x=tg.f32[B, S, 8])
    after = tg.optimize(graph, "eliminate-transposes")
    assert names(after) == ["third_power", "centre"]
    assert agree(graph, after, x=numbers(2, 3, 8))


def test_transposes_do_not_move_across_the_axis_that_an_op_works_along() -> None:
    graph = tg.trace(lambda x: tg.transpose(tg.centre(tg.transpose(x, perm=(0, 2, 1))), perm=(0, 2, 1)), x=tg.f32[B, S, 8])
    assert tg.optimize(graph, "eliminate-transposes") == graph


def test_a_view_that_permutes_axes_is_a_transpose_to_others() -> None:
    def function(x: Any) -> Any:
        return tg.transpose(tg.third_power(tg.heads_first(x)), perm=(0, 2, 1, 3))

    graph = tg.trace(function, x=tg.f32[B, S, 2, 8])
    after = tg.optimize(graph, "eliminate-transposes")
    assert names(after) == ["third_power"]
    assert agree(graph, after, x=numbers(2, 3, 2, 8))


def test_padded_rows_are_left_out_of_all_of_them() -> None:
    def function(x: Any, mask: Any) -> Any:
        heads = tg.split_columns(tg.third_power(tg.linear(x, numbers(8, 8))), parts=2)
        rows = tg.heads_first(tg.centre(tg.heads_first(heads)))
        return tg.zero_padding(tg.linear(tg.reshape(rows, shape=x.shape), numbers(8, 8)), mask)

    graph = tg.trace(function, x=tg.f32[B, S, 8], mask=tg.bool_[B, S])
    after = tg.optimize(graph, "remove-padding")
    packed = {n.op.name: n.result for n in after.nodes if n.op.name in ("third_power", "centre", "linear")}
    assert {str(v.shape[0]) for v in packed.values()} == {"N"} and len(packed) == 3
    assert packed["centre"].type.rank == 3  # rows, heads and the elements of a head
    mask = np.array([[True, True, False], [True, False, False]])
    assert agree(graph, after, x=numbers(2, 3, 8), mask=mask)


def test_attention_is_found_through_views_of_scores_and_computed_scales() -> None:
    def function(q: Any, k: Any, v: Any, mask: Any) -> Any:
        q, k, v = (tg.join_first(tg.heads_first(tg.centre(x))) for x in (q, k, v))  # [B H, S, D]
        scores = tg.cut_first(q @ tg.transpose(k, perm=(0, 2, 1)), size=2)  # [B, H, S, S]
        scale = tg.third_power(tg.full(shape=(), value=0.5))
        scores = tg.where(tg.reshape(mask, shape=(mask.shape[0], 1, 1, mask.shape[1])), scores * scale, -np.inf)
        mixed = tg.join_first(tg.softmax(scores)) @ v
        return tg.heads_first(tg.cut_first(mixed, size=2))

    heads = tg.f32[B, S, 2, 4]
    graph = tg.trace(function, q=heads, k=heads, v=heads, mask=tg.bool_[B, S])
    after = tg.optimize(graph, "fuse-attention,dce")
    assert "softmax" not in names(after) and "matmul" not in names(after)
    attention = next(n for n in after.nodes if n.op.name == "attention")
    assert attention.attrs["scale"] == 0.125 and attention.operands[3] is not None
    mask = np.array([[True, True, False], [True, False, False]])
    assert agree(graph, after, q=numbers(2, 3, 2, 4), k=numbers(2, 3, 2, 4) + 1, v=numbers(2, 3, 2, 4), mask=mask)


def test_commuting_and_mirrored_ops_are_brought_to_one_order() -> None:
    @tg.op(elementwise=True, commutative=True)
    def hypot(x: tg.TensorType, y: tg.TensorType) -> tg.TensorType:
        """sqrt(x^2 + y^2)."""
        return x

    hypot.reference(np.hypot)
    graph = tg.trace(lambda x, y: tg.hypot(x, y) + tg.hypot(y, x), x=tg.f32[B], y=tg.f32[B])
    assert names(tg.optimize(graph, "canonicalize,cse")).count("hypot") == 1
