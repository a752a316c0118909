"""Dims that stand in expressions only, `f32[2*N, 4]`: solved at a call, on every target, in every form of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.reference import choose_sizes

B, S = tg.dims("B S")
N = tg.dim("N", min=1)


class Pairs(nn.Module):
    """Rows in pairs, with a product, a reduction over the symbolic axis and numbers made of the size."""

    def __init__(self) -> None:
        self.linear = nn.Linear(4, 4)

    def __call__(self, x: Any) -> Any:
        pairs = tg.softmax(tg.reshape(self.linear(x), shape=(N, 2, 4)), axis=0)
        return {"y": pairs * N + tg.reshape(tg.range(stop=N, dtype=tg.f32), shape=(N, 1, 1)), "x": x + 1.0}


@pytest.fixture(scope="module")
def graph() -> tg.Graph:
    return tg.trace(Pairs(), x=tg.f32[2 * N, 4])


@pytest.mark.parametrize(("target", "level"), [("numpy", "O3"), ("cpu", "O0"), ("cpu", "O3")])
def test_calls(graph: tg.Graph, target: str, level: str) -> None:
    exe = tg.compile(graph, target, level=level)
    for rows in (2, 6, 40):
        x = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
        expected = tg.reference.run(graph, {"x": x})
        for name, value in exe.run({"x": x}).items():
            assert np.abs(value - expected[name]).max() < 1e-5
    with pytest.raises(tg.InputError, match=r"axis 0 must be 2\*N, which no N from 1 makes 7"):
        exe(np.zeros((7, 4), np.float32))
    with pytest.raises(tg.InputError, match="which no N from 1 makes 0"):
        exe(np.zeros((0, 4), np.float32))
    assert tg.check(exe)


def test_bundles_text_and_json(graph: tg.Graph, tmp_path: Path) -> None:
    x = np.ones((6, 4), np.float32)
    expected = tg.compile(graph)(x)
    tg.compile(graph).save(tmp_path / "pairs.tgc")
    found = [tg.load(tmp_path / "pairs.tgc")]
    for suffix in (".tg", ".json"):
        graph.dump(tmp_path / f"pairs{suffix}")
        again = tg.read(tmp_path / f"pairs{suffix}")
        assert again == graph
        again.weights = graph.weights
        found.append(tg.compile(again))
    for exe in found:
        for y, r in zip(exe(x), expected):
            assert np.array_equal(y, r)
        with pytest.raises(tg.InputError, match="which no N from 1 makes 7"):
            exe(np.zeros((7, 4), np.float32))


def test_a_size_beside_one_that_is_known() -> None:
    graph = tg.trace(lambda x, y: tg.reshape(x, shape=(B, N, 4)) + tg.unsqueeze(y, axes=1), x=tg.f32[B * N, 4], y=tg.f32[B, 4])
    for target in ("numpy", "cpu"):
        exe = tg.compile(graph, target)
        assert exe(np.ones((6, 4), np.float32), np.ones((2, 4), np.float32)).shape == (2, 3, 4)
        assert tg.check(exe)


def test_generated_sizes_leave_no_axis_below_zero() -> None:
    for type in (tg.f32[N - 4], tg.f32[2 * N - 7, N], tg.f32[N - B, B]):
        graph = tg.trace(lambda x: -x, x=type)
        sizes = choose_sizes(graph)
        assert min(type.evaluate(sizes)) >= 0
        assert tg.check(tg.compile(graph, "numpy"))


def test_a_graph_that_cannot_be_called_is_refused() -> None:
    line = test_a_graph_that_cannot_be_called_is_refused.__code__.co_firstlineno
    with pytest.raises(tg.TraceError, match=r"input 'x'.* more than one unknown") as raised:
        tg.trace(lambda x: -x, x=tg.f32[B * N])
    assert f"{Path(__file__).name}:{line + 3}" in str(raised.value)

    def model(x: Any) -> Any:
        return x + tg.dim_size(size=N, dtype=tg.f32)  # on no input

    with pytest.raises(tg.TraceError, match="the size of N in dim_size is on no input") as raised:
        tg.trace(model, x=tg.f32[B])
    assert f"{Path(__file__).name}:{model.__code__.co_firstlineno + 1}" in str(raised.value)
    text = "graph main(%x: f32[N//2]) -> (y: f32[N//2]) {\n  %0 = neg(%x)\n  return (y: %0)\n}"
    for target in ("numpy", "cpu"):
        with pytest.raises(tg.CompileError, match="is N//2: from its length follows no single N"):
            tg.compile(tg.parse(text), target)


@pytest.mark.parametrize("target", ["numpy", "cpu"])
@pytest.mark.parametrize("level", ["O0", "O3"])
def test_a_size_that_only_a_run_knows_and_nothing_else_of_its_node(target: str, level: str) -> None:
    def model(mask: tg.Tensor) -> tg.Tensor:
        rows, _ = tg.unpack(mask)
        return tg.range(stop=rows.shape[0], dtype=tg.i32) * 2

    executable = tg.compile(tg.trace(model, mask=tg.bool_[B, S]), target, level=level)
    for mask in ([[True, False, True]], [[False]], [[True] * 4] * 2):
        np.testing.assert_array_equal(executable(np.array(mask)), 2 * np.arange(np.sum(mask), dtype=np.int32))


@pytest.mark.parametrize("target", ["numpy", "cpu"])
@pytest.mark.parametrize("level", ["O0", "O3"])
def test_a_size_that_only_a_run_knows_is_checked_though_nothing_reads_it(target: str, level: str) -> None:
    def model(mask: tg.Tensor, x: tg.Tensor) -> tg.Tensor:
        _unread = tg.unpack(mask)[0] + x
        return x * 2

    executable = tg.compile(tg.trace(model, mask=tg.bool_[B, S], x=tg.i64[tg.dim("T")]), target, level=level)
    np.testing.assert_array_equal(executable(np.ones((2, 3), bool), np.arange(6)), 2 * np.arange(6))
    with pytest.raises(tg.InputError, match="N is 6, T is 5, but they must be equal"):
        executable(np.ones((2, 3), bool), np.arange(5))
