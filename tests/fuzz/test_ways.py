"""Programs that are compiled together, saved, loaded, kept in sessions and given to ONNX Runtime: what is found there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.testing.case import Case
from tgraph.testing.company import Company
from tgraph.testing.examination import examine
from tgraph.testing.generator.program import program
from tgraph.testing.round_trips import forgotten, lost, other_bits

B = tg.dim("B")


def test_graphs_in_company_share_weights_and_kernels_and_are_right() -> None:
    graphs = {seed: program(seed) for seed in range(6)}
    found = examine(graphs, ("text", "json", "O0", "O3", "bundle", "session"))
    assert [str(o) for o in found.values() if o.findings] == []
    assert all(o.ways["several graphs"] == o.ways["bundle"] == o.ways["O0"] == o.ways["O3"] == 1 for o in found.values())


def test_one_that_is_wrong_in_company_is_examined_by_itself() -> None:
    @tg.op(elementwise=True)
    def half_of(x: tg.TensorType) -> tg.TensorType:
        """x / 2."""
        return x

    @half_of.reference
    def _(x: np.ndarray) -> np.ndarray:
        return x / 2

    @half_of.decomposition
    def _(b, x):  # type: ignore[no-untyped-def]
        return b.mul(x, 0.4)

    graphs = {0: tg.trace(lambda x: x * 2.0, x=tg.f32[B]), 1: tg.trace(lambda x: tg.half_of(x), x=tg.f32[B]),
              2: tg.trace(lambda x: x + 2.0, x=tg.f32[B])}
    found = examine(graphs, ("O0", "O3"))
    assert [bool(o) for o in found.values()] == [True, False, True]
    assert {(f.kind, f.step) for f in found[1].findings} == {("wrong", "O0"), ("wrong", "O3")}
    assert "not by itself" not in str(found[1]) and found[1].company == ""


def test_parameters_of_one_name_and_type_are_one_and_others_are_renamed() -> None:
    class Scaled(nn.Module):
        def __init__(self, size: int) -> None:
            self.w = nn.Parameter(tg.f32[size])

        def __call__(self, x: tg.Tensor) -> Any:
            return x * self.w

    cases = [Case(tg.trace(Scaled(size), x=tg.f32[B, size]), 0) for size in (4, 4, 5)]
    company = Company(cases, ("O0", "O3"))
    assert sorted(company.program.parameters) == ["w", "w_2"]
    assert len(company.program) == 6


def test_bits_are_compared() -> None:
    x = np.float32([0.0, np.nan, 1.0])
    assert other_bits({"y": x.copy()}, {"y": x}) is None
    assert other_bits({"y": -x}, {"y": x}) is not None
    assert "output y at [2]" in str(other_bits({"y": x + np.float32([0, 0, 1e-7])}, {"y": x}))
    assert other_bits({"y": x.astype("f8")}, {"y": x}) is not None


def test_what_a_round_trip_loses_is_found() -> None:
    graph = tg.trace(lambda x: x * 2.0, x=tg.f32[4])
    assert lost(graph, "text") is None and lost(graph, "json") is None
    graph.name = "has\nlines"
    assert lost(graph, "text") is None


class Counter(nn.Module):
    def __init__(self) -> None:
        self.total = nn.State(tg.f32[B, 3])

    def __call__(self, x: tg.Tensor) -> Any:
        self.total.value = self.total + x
        return self.total * 2.0


def test_a_session_that_forgets_is_found() -> None:
    case = Case(tg.trace(Counter(), x=tg.f32[B, 3]), 0)
    case.refer()
    exe = tg.compile(case.graph)
    assert forgotten(case, exe, 0) is None

    class Forgetful:
        """The executable, but each of its calls is given the first call's state."""

        graph = case.graph

        def session(self, **sizes: int) -> Any:
            return exe.session(**sizes)

        def run(self, feeds: Any) -> Any:
            return exe.run({**feeds, "total": case.expected[0].feeds["total"]})

    assert "call 2 of a session" in str(forgotten(case, Forgetful(), 0))  # type: ignore[arg-type]


def test_onnx_runtime_takes_part() -> None:
    pytest.importorskip("onnxruntime")
    outcome = examine({0: tg.trace(lambda x: tg.softmax(x) @ tg.transpose(x), x=tg.f32[3, 4])}, ("onnx",))[0]
    assert outcome.ways["onnx"] == 1 and not outcome.not_comparable
    outcome = examine({1: tg.trace(lambda x: tg.leaky_relu(x, alpha=0.1), x=tg.f64[3, 4])}, ("onnx",))[1]
    assert outcome.ways["onnx"] == 1, "its alpha is f32"
    outcome = examine({0: tg.trace(lambda x: tg.exp(x), x=tg.bf16[3, 4])}, ("onnx",))[0]
    assert outcome and not outcome.ways["onnx"] and sum(outcome.not_comparable.values()) == 1
