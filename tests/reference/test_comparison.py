"""Two graphs on the same inputs: whether they agree, and the first nodes that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.ir.correspondence import correspondence

B, S = tg.dims("B S")


class Model(nn.Module):
    """Two layers; `change` is applied between product and activation of the second."""

    def __init__(self, change: Callable[[Any], Any] = lambda y: y) -> None:
        self.first, self.second, self.norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8)
        self.change = [change]

    def __call__(self, x: Any) -> Any:
        x = tg.gelu(self.first(x))
        return {"y": self.norm(tg.tanh(self.change[0](self.second(x))) + x)}


def traced(change: Callable[[Any], Any] = lambda y: y) -> tg.Graph:
    return tg.trace(Model(change), x=tg.f32[B, 8], name="model")


def test_a_pass_changes_no_value() -> None:
    report = tg.compare(traced(), tg.optimize(traced(), "O3"), sizes={"B": 3})
    assert report and report.parting is None and report.sizes == {"B": 3} and report.outputs["y"].error < 1e-12
    assert "model and model agree at B=3" in str(report)


def test_the_first_nodes_that_differ() -> None:
    """The scale itself is no node of both graphs: what reads it is the first."""
    report = tg.compare(traced(), traced(lambda y: y * 1.5))
    assert not report and report.parting is not None and report.outputs["y"].error > report.outputs["y"].tolerance == 1e-4
    assert "tanh(" in report.parting.first and "tanh(" in report.parting.second
    assert "test_comparison.py" in report.parting.first_where
    assert "DIFFER" in str(report) and "too large" in str(report) and "they part at   %" in str(report)


def test_weights_that_differ() -> None:
    other = traced()
    other.weights.set("second.weight", np.zeros((8, 8), np.float32))
    report = tg.compare(traced(), other)
    assert report.parting is not None and "linear(%" in report.parting.first and "@second.weight" in report.parting.second


def test_executables_and_bundles(tmp_path: Path) -> None:
    exe, other = tg.compile(traced()), tg.compile(traced(lambda y: y * 1.5))
    assert tg.compare(exe, traced()) and tg.compare(traced(), tg.compile(traced(), "numpy"))
    report = tg.compare(exe, other, {"x": np.ones((4, 8), np.float32)})
    assert not report and report.parting is not None and report.matched >= 1
    other.save(tmp_path / "other.tgc")
    report = tg.compare(exe, tg.load(tmp_path / "other.tgc"))
    assert not report and report.parting is None and "where they part is not known" in str(report)
    half = tg.compare(traced(), tg.compile(traced(), "numpy", precision="f16"))
    assert half and half.outputs["y"].tolerance == 1e-2


def test_names_that_differ_go_by_place() -> None:
    left = tg.trace(lambda x, y: {"difference": x - y}, x=tg.f32[B], y=tg.f32[B])
    right = tg.trace(lambda a, b: {"out": a - b}, a=tg.f32[S], b=tg.f32[S])
    report = tg.compare(left, right, {"x": np.arange(3, dtype="f"), "y": np.ones(3, "f")})
    assert report and "inputs by place: x is a, y is b" in str(report) and "outputs by place" in str(report)
    swapped = tg.trace(lambda a, b: {"out": b - a}, a=tg.f32[S], b=tg.f32[S])
    report = tg.compare(left, swapped)
    assert not report


@pytest.mark.parametrize(("other", "message"), [
    (lambda: tg.trace(lambda x: {"y": x, "z": x}, x=tg.f32[B, 8]), "has the outputs y, main y, z"),
    (lambda: tg.trace(lambda x: {"y": x}, x=tg.i64[B, 8]), "input 'x' of model is f32"),
    (lambda: tg.trace(lambda x: {"y": x.sum(axis=-1)}, x=tg.f32[B, 8]), "output 'y' of model is f32.B, 8., 'y' of main f32.B."),
])
def test_graphs_that_do_not_fit_together(other: Callable[[], tg.Graph], message: str) -> None:
    with pytest.raises(tg.InputError, match=message):
        tg.compare(traced(), other())


def test_programs() -> None:
    class Two(nn.Module):
        def one(self, x: Any) -> Any:
            return tg.exp(x)

        def two(self, x: Any) -> Any:
            return tg.tanh(x)

    program = tg.trace_program(Two(), one={"x": tg.f32[B]}, two={"x": tg.f32[B]})
    with pytest.raises(tg.GraphError, match="one"):
        tg.compare(program, program)
    assert tg.compare(program["one"], program["one"]) and not tg.compare(program["one"], program["two"])


def test_nodes_correspond_within_their_scopes() -> None:
    """Layers of equal shape are not taken for each other, whatever is gone before them."""
    a, b = traced(), tg.optimize(traced(), "O3")
    for node, twin in correspondence(a, b).items():
        assert node.op is twin.op
        assert set(node.provenance.scopes) & set(twin.provenance.scopes)
