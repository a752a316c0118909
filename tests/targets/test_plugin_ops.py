"""A user's views have no kernel and need none: kernels read through them by their axis maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import tgraph as tg
from tests.plugin_ops import plugin_ops
from tgraph import nn

B, S = tg.dims("B S")


@pytest.fixture(autouse=True)
def ops() -> Iterator[None]:
    with plugin_ops():
        yield


def test_views_of_a_user_are_read_and_written_through() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

        def __call__(self, x: Any, mask: Any) -> Any:
            q, k, v = (tg.heads_first(tg.split_columns(f(x), parts=2)) for f in (self.query, self.key, self.value))
            return tg.heads_first(tg.attention(q, k, v, mask))

    graph = tg.trace(Heads(), x=tg.f32[B, S, 8], mask=tg.bool_[B, S])
    exe = tg.compile(graph, "cpu", passes="")
    kernels = exe.source("kernels")
    calls = [line for line in kernels[kernels.rindex("graph "):].splitlines() if "= call " in line]
    assert len(calls) == 4 and "split_columns" in kernels  # three products, and attention with all views around it
    assert tg.check(exe)


def test_other_ops_of_a_user_are_compiled_by_their_decompositions() -> None:
    graph = tg.trace(lambda x: tg.cut_first(tg.centre(tg.third_power(x)), size=3), x=tg.f32[B * 3, 8])
    assert tg.check(tg.compile(graph, "cpu"))
