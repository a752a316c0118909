"""Values inside of graphs: found by name, right on the target, and what is gone is named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.ir.correspondence import correspondence
from tgraph.reference.node_values import node_names
from tgraph.reference.statistics import BINS, Statistics

B, S = tg.dims("B S")


class Block(nn.Module):
    def __init__(self) -> None:
        self.attention, self.norm = nn.MultiHeadAttention(16, 2), nn.LayerNorm(16)
        self.ffn = nn.FeedForward(16, 32, activation="gelu")

    def __call__(self, x: Any, mask: Any) -> Any:
        return self.ffn(self.norm(x + self.attention(x, mask=mask)))


class Model(nn.Module):
    def __init__(self) -> None:
        self.layer = [Block(), Block()]

    def __call__(self, x: Any, mask: Any) -> Any:
        for layer in self.layer:
            x = layer(x, mask)
        return {"hidden": x}


GRAPH = tg.trace(Model(), x=tg.f32[B, S, 16], mask=tg.bool_[B, S])
FEEDS = {"x": np.random.default_rng(0).standard_normal((2, 5, 16)).astype(np.float32),
         "mask": np.arange(5) < np.array([[5], [3]])}


@pytest.fixture(scope="module")
def exe() -> tg.Executable:
    return tg.compile(GRAPH)


def test_patterns() -> None:
    def labels(*patterns: str) -> list[str]:
        return list(tg.values(GRAPH, FEEDS, nodes=patterns))

    assert labels("layer_norm") == ["layer.0.norm.layer_norm", "layer.1.norm.layer_norm"] == labels("*norm*")
    assert labels("layer.1.ffn*gelu", "layer.1.norm") == ["layer.1.norm.layer_norm", "layer.1.ffn.gelu"]
    names = node_names(GRAPH)
    assert len({n.label for n in names.values()}) == len(names) == len(tg.values(GRAPH, FEEDS))
    last = names[dict(GRAPH.outputs)["hidden"]]
    assert labels("hidden") == labels(last.value) == [last.label]
    assert labels("layer.1.norm,layer.0.ffn*gelu") == ["layer.0.ffn.gelu", "layer.1.norm.layer_norm"]
    linear = nn.Linear(4, 4)
    partly = tg.trace(lambda x: tg.exp(linear(x)), x=tg.f32[B, 4])  # the last node is in no module
    assert len(tg.values(partly)) == 2
    with pytest.raises(tg.GraphError, match=r"no node of graph model is 'layer.7"):
        labels("layer.7*layer_norm")


def test_the_reference_computes_them_in_float64() -> None:
    found = tg.values(GRAPH, FEEDS, nodes=["layer.0.norm", "hidden"])
    assert np.array_equal(found[list(found)[-1]], tg.reference.run(GRAPH, FEEDS)["hidden"])
    normed = found["layer.0.norm.layer_norm"]
    assert normed.dtype == np.float64 and np.allclose(normed.mean(axis=-1), 0) and np.allclose(normed.std(axis=-1), 1, atol=1e-3)


def test_the_target_computes_what_the_reference_does(exe: tg.Executable) -> None:
    """All nodes that both graphs have; what a kernel otherwise keeps to itself, too."""
    found, exact = tg.values(exe, FEEDS), tg.values(GRAPH, FEEDS)
    pairs, ours, theirs = correspondence(GRAPH, exe.optimized), node_names(GRAPH), node_names(exe.optimized)
    compared = 0
    for node, twin in pairs.items():
        if node.op.name in ("layer_norm", "add", "attention") or node.results[0] is dict(GRAPH.outputs)["hidden"]:
            for r, s in zip(node.results, twin.results):
                assert np.allclose(found[theirs[s].label], exact[ours[r].label], atol=1e-4), ours[r].label
                compared += 1
    assert compared >= 6
    assert {"layer.0.attention.attention", "layer.1.norm.layer_norm"} <= set(found)


def test_what_is_gone_is_named(exe: tg.Executable) -> None:
    found = tg.values(exe, FEEDS, nodes="*.query.linear")
    assert [g.name.label for g in found.gone] == [f"layer.{i}.attention.query.linear" for i in range(2)]
    assert list(found) == ["layer.0.attention.linear", "layer.1.attention.linear"]  # they come from this scope, too
    assert {n.op for n in found.gone[1].became} == {"split"} and all(n.scope == "layer.1.attention" for n in found.gone[1].became)
    assert "layer.0.attention.query.linear (%0) became part of layer.0.attention.split:0" in str(found)
    with pytest.raises(tg.GraphError, match="no node of graph model is 'nothing"):
        tg.values(exe, FEEDS, nodes="nothing*")


def test_the_program_of_values_is_kept(exe: tg.Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tg.values(exe, FEEDS, nodes="*norm")
    monkeypatch.setattr(exe, "_recompile", None)
    again = tg.values(exe, {**FEEDS, "x": FEEDS["x"] * 2}, nodes="*layer_norm")  # the same nodes
    assert list(again) == list(first)


def test_values_of_halves_and_of_the_numpy_target(tmp_path: Path) -> None:
    exe = tg.compile(GRAPH, "numpy", precision="bf16")
    found = tg.values(exe, FEEDS, nodes=["*attention.attention", "*cast*"])
    halves = [label for label, array in found.items() if array.dtype == ml_dtypes.bfloat16]
    assert halves
    found.save(tmp_path / "deep" / "folder")
    with np.load(tmp_path / "deep" / "folder" / "values.npz") as written:
        assert set(written) == set(found) and written[halves[0]].dtype == np.float32
        assert np.array_equal(written[halves[0]], found[halves[0]].astype(np.float32))
    index = json.loads((tmp_path / "deep" / "folder" / "values.json").read_text())
    assert index["values"][halves[0]]["dtype"] == "bfloat16" and index["graph"] == "model"


def test_states_and_data_dependent_sizes() -> None:
    class Total(nn.Module):
        def __init__(self) -> None:
            self.rows = nn.State(tg.f32[B, S, 4])

        def __call__(self, x: Any, position: Any) -> Any:
            self.rows.value = tg.update_slice(self.rows, x[:, None], position, axis=1)
            return tg.exp(self.rows.value.sum(axis=1))

    exe = tg.compile(tg.trace(Total(), x=tg.f32[B, 4], position=tg.i64[()]))
    feeds = {i.name: np.ones((2, 3, 4), np.float32) for i in exe.graph.inputs if i.name in exe.graph.states}
    feeds |= {"x": np.full((2, 4), 2, np.float32), "position": np.asarray(1)}
    found = tg.values(exe, feeds, nodes="*sum")
    assert [a.tolist() for a in found.values()] == [[[4.0] * 4] * 2]
    packed = tg.compile(tg.trace(lambda x, mask: tg.zero_padding(tg.gelu(x @ np.eye(16, dtype=np.float32)), mask),
                                 x=tg.f32[B, S, 16], mask=tg.bool_[B, S]), passes="remove-padding,O3")
    rows = {array.shape[0] for label, array in tg.values(packed, FEEDS).items() if array.ndim == 2 and array.shape[1] == 16}
    assert 8 in rows  # 5 and 3 of the two sequences


def test_programs() -> None:
    class Two(nn.Module):
        def one(self, x: Any) -> Any:
            return tg.exp(x)

        def two(self, x: Any) -> Any:
            return tg.tanh(x)

    program = tg.trace_program(Two(), one={"x": tg.f32[B]}, two={"x": tg.f32[B]})
    exe = tg.compile(program, "numpy")
    for model in (program, exe):
        with pytest.raises(tg.GraphError, match="one"):
            tg.values(model)
    assert list(tg.values(exe.two)) == ["tanh"]


def test_statistics() -> None:
    one = Statistics.of(np.array([[0, 1, 2], [3, np.nan, -np.inf]], np.float32))
    assert (one.shape, one.low, one.high, one.mean, one.zeros, one.nans, one.infinities) == ((2, 3), 0, 3, 1.5, 1, 1, 1)
    assert one.std == pytest.approx(np.std([0, 1, 2, 3])) and sum(one.histogram) == 4 and len(one.bars) == BINS
    assert Statistics.of(np.zeros(3)).histogram.count(0) == BINS - 1
    assert math.isnan(Statistics.of(np.zeros((0, 2))).mean) and Statistics.of(np.full(2, np.nan)).nans == 2
    huge = Statistics.of(np.array([-1e308, 1e308]))
    assert huge.mean == 0 and huge.std == 1e308 and sum(huge.histogram) == 2
    assert Statistics.of(np.array([True, False])).mean == 0.5
    assert Statistics.of(np.array([2.0], ml_dtypes.bfloat16)).high == 2


# NaN and infinities

def test_the_first_that_makes_a_nan() -> None:
    class Wrong(nn.Module):
        def __call__(self, x: Any) -> Any:
            y = tg.sqrt(x - 1.0)  # the line that the report names
            return tg.softmax(y * 2.0)

    graph = tg.trace(Wrong(), x=tg.f32[B, 3])
    feeds = {"x": np.array([[1, 2, 5], [4, 0.5, 1]], np.float32)}
    line = next(i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "the report names" in text)
    for model in (graph, tg.compile(graph), tg.compile(graph, "numpy")):
        report = tg.trace_nonfinite(model, feeds)
        assert not report and report.first is not None
        assert report.first.name.op == "sqrt" and f"{Path(__file__).name}:{line}" in report.first.where
        assert report.first.place == (1, 1) and report.first.result.nans == 1
        (operand,) = report.first.operands.values()
        assert (operand.low, operand.high, operand.nans) == (-0.5, 4, 0)
        assert "first made by" in str(report) and "1 NaN of 6 elements" in str(report) and "from -0.5 to 4" in str(report)
        assert list(report.outputs) == ["output"]


def test_overflow_at_the_precision_of_the_types() -> None:
    graph = tg.trace(lambda x: tg.cast(tg.cast(x, tg.f16) * 200.0, tg.f32), x=tg.f32[B])
    report = tg.trace_nonfinite(graph, {"x": np.array([1, 1000], np.float32)})
    assert report.first is not None and report.first.name.op == "mul" and report.first.result.infinities == 1


def test_fills_of_masks_are_given_and_no_fault() -> None:
    graph = tg.trace(lambda x, mask: tg.softmax(tg.where(mask, x, -np.inf)), x=tg.f32[B, 3], mask=tg.bool_[B, 3])
    feeds = {"x": np.ones((2, 3), np.float32), "mask": np.array([[True, False, True]] * 2)}
    report = tg.trace_nonfinite(graph, feeds)
    assert report and report.first is None and "all finite" in str(report) and any("constant" in s for s in report.sources)
    feeds["mask"][1] = False
    for one in (report := tg.trace_nonfinite(graph, feeds), tg.trace_nonfinite(tg.compile(graph, passes=""), feeds)):
        assert not one and one.outputs["output"].nans == 3
    assert report.first is None  # softmax of infinities only: nothing is made of finite numbers


def test_what_was_given_is_told() -> None:
    graph = tg.trace(lambda x: tg.exp(x), x=tg.f32[B])
    report = tg.trace_nonfinite(graph, {"x": np.array([np.nan, 1], np.float32)})
    assert not report and report.first is None and "given in input %x: 1 NaN" in str(report)
