"""`tg.check` finds what is broken on purpose, and names node, scope and line; its inputs respect the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.codegen.scalar import SCALAR
from tgraph import nn
from tgraph.reference import choose_sizes, compare, generate_inputs
from tgraph.reference.inputs import smallest_sizes

B, S = tg.dims("B S")


class Block(nn.Module):
    def __init__(self) -> None:
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

    def __call__(self, x: Any) -> Any:
        hidden = tg.tanh(self.up(x))
        wrong = tg.gelu(hidden)  # the op that is broken below
        return self.down(wrong * 2.0)


class Model(nn.Module):
    def __init__(self) -> None:
        self.layer = [Block(), Block()]

    def __call__(self, x: Any) -> Any:
        return self.layer[1](self.layer[0](x))


@pytest.fixture
def broken_gelu(monkeypatch: pytest.MonkeyPatch) -> None:
    good = SCALAR["gelu"]
    monkeypatch.setitem(SCALAR, "gelu", lambda x, **attributes: good(x, **attributes) + x * 0.25)


def weighted(model: nn.Module) -> nn.Module:
    """Weights large enough that an error in the middle is seen at the end."""
    generator = np.random.default_rng(0)
    for parameter in model.parameters().values():
        parameter.data = generator.standard_normal(parameter.type.shape).astype(np.float32)
    return model


def test_a_right_graph_passes() -> None:
    report = tg.check(tg.compile(tg.trace(weighted(Model()), x=tg.f32[B, 4]), "cpu"))
    assert report and report.ok and report.divergence is None
    assert [sizes for sizes, _, _ in report.outputs] == [{"B": 2}, {"B": 1}]
    assert str(report).startswith("model: ok against the NumPy reference")


@pytest.mark.parametrize("level", ["O0", "O3"])
def test_a_broken_kernel_is_found(broken_gelu: None, level: str) -> None:
    report = tg.check(tg.compile(tg.trace(weighted(Model()), x=tg.f32[B, 4]), "cpu", level=level))
    assert not report
    assert report.divergence is not None
    assert "gelu" in report.divergence.node and "f32[B, 8]" in report.divergence.node
    line = Block.__call__.__wrapped__.__code__.co_firstlineno + 2  # type: ignore[attr-defined]
    assert "in layer.0" in report.divergence.where
    assert f"{Path(__file__).name}:{line}" in report.divergence.where
    assert report.divergence.comparison.error > report.divergence.comparison.tolerance
    text = str(report)
    assert "FAILED" in text and "too large" in text and "first divergent node: " in text and f":{line}" in text


def test_a_pass_that_changes_the_meaning_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    executable = tg.compile(tg.trace(lambda x: tg.exp(x) * 0.5, x=tg.f32[B]), "numpy")
    wrong = tg.compile(tg.trace(lambda x: tg.exp(x) * 0.25, x=tg.f32[B]), "numpy")
    monkeypatch.setattr(executable, "run", wrong.run)
    report = tg.check(executable)
    assert not report and report.divergence is None
    assert "each node alone is right" in str(report)


@pytest.mark.parametrize("target", ["numpy", "cpu"])
def test_nodes_alone_know_sizes_that_their_operands_do_not_say(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def model(x: Any) -> Any:
        rows = tg.reshape(x, shape=(B * S, 4)) * S
        return tg.reshape(rows, shape=(B, S, 4)) + tg.reshape(tg.range(stop=S, dtype=tg.f32), shape=(1, S, 1))

    executable = tg.compile(tg.trace(model, x=tg.f32[B, S, 4]), target, level="O0")
    assert tg.check(executable)
    right = executable.run
    monkeypatch.setattr(executable, "run", lambda feeds: {name: y + 1 for name, y in right(feeds).items()})
    report = tg.check(executable)
    assert not report and report.divergence is None


def test_own_inputs_sizes_and_tolerance() -> None:
    executable = tg.compile(tg.trace(lambda x, y: x @ y, x=tg.f32[B, S], y=tg.f32[S, 3]), "cpu")
    report = tg.check(executable, {"x": np.ones((4, 6), np.float32), "y": np.ones((6, 3), np.float32)})
    assert report and report.outputs[0][0] == {"B": 4, "S": 6}
    report = tg.check(executable, sizes=[{"B": 0, "S": 3}, {"B": 3}], tol=1e-3)
    assert report and [s["B"] for s, _, _ in report.outputs] == [0, 3]
    assert report.outputs[0][2].tolerance == 1e-3


# Generated inputs


def inputs(build: Any, **specs: Any) -> dict[str, np.ndarray]:
    return generate_inputs(tg.trace(build, **specs))


def test_indices_stay_within_their_tables() -> None:
    graph = tg.trace(lambda i, j, x, t: (tg.embedding(i, t), tg.gather(x, tg.unsqueeze(j, axes=0), axis=1)), i=tg.i64[40],
                     j=tg.i32[40],
                     x=tg.f32[B, 3], t=tg.f32[5, 2])
    for seed in range(5):
        feeds = generate_inputs(graph, seed=seed)
        assert feeds["i"].dtype == np.int64 and set(feeds["i"]) <= set(range(5)) and len(set(feeds["i"])) > 2
        assert feeds["j"].dtype == np.int32 and set(feeds["j"]) <= {0, 1, 2}
        tg.reference.run(graph, feeds)


def test_ranges_are_respected() -> None:
    feeds = inputs(lambda i, t: tg.embedding(tg.maximum(i - 10, 0), t), i=tg.i64[200].range(10, 14), t=tg.f32[4])
    assert set(feeds["i"]) == {10, 11, 12, 13}


def test_masks_have_a_true_key_in_every_row_and_padding_in_some() -> None:
    mask = inputs(lambda m: ~m, m=tg.bool_[30, 8])["m"]
    assert mask.any(axis=-1).all() and not mask.all() and mask[0].all()
    assert (np.diff(mask.astype(int), axis=-1) <= 0).all()  # True first, as padded batches have them
    assert inputs(lambda m: ~m, m=tg.bool_)["m"].item() is True


def test_the_same_seed_gives_the_same_inputs() -> None:
    graph = tg.trace(lambda x: -x, x=tg.f32[B])
    assert np.array_equal(generate_inputs(graph, seed=3)["x"], generate_inputs(graph, seed=3)["x"])
    assert not np.array_equal(generate_inputs(graph, seed=3)["x"], generate_inputs(graph, seed=4)["x"])


def test_sizes_differ_and_keep_bounds_constraints_and_tables() -> None:
    bounded = tg.dim("L", min=9, max=10)
    graph = tg.trace(lambda x, y: tg.concat(x, y, axis=1), x=tg.f32[B, S], y=tg.f32[tg.dim("C"), bounded])
    sizes = choose_sizes(graph)
    assert sizes["B"] == sizes["C"] and len({sizes["B"], sizes["S"], sizes["L"]}) == 3 and 9 <= sizes["L"] <= 10
    table = np.ones((4, 2), np.float32)
    graph = tg.trace(lambda x: tg.embedding(tg.range(stop=x.shape[1]), table) + x, x=tg.f32[B, S, 2])
    assert choose_sizes(graph)["S"] == 4
    assert choose_sizes(graph, {"S": 2})["S"] == 2


def test_equal_sizes_are_equal_whatever_else_is_asked_of_one_of_them() -> None:
    def sums(x, y, z):  # type: ignore[no-untyped-def]
        return x + y + z, z[4:-8]

    c, d = tg.dim("C", max=40), tg.dim("D", min=3)
    graph = tg.trace(sums, x=tg.f32[B], y=tg.f32[c], z=tg.f32[d])
    assert graph.inequalities
    for sizes in (choose_sizes(graph), smallest_sizes(graph)):
        assert sizes == {"B": 12, "C": 12, "D": 12}
    assert choose_sizes(graph, {"C": 20}) == {"B": 20, "C": 20, "D": 20}
    graph = tg.trace(lambda x, y: x + y + np.ones(5, np.float32), x=tg.f32[B], y=tg.f32[tg.dim("C")])
    assert choose_sizes(graph) == smallest_sizes(graph) == {"B": 5, "C": 5}


def test_an_empty_table_has_no_index() -> None:
    with pytest.raises(tg.InputError, match="input 'i' indexes an empty table"):
        inputs(lambda i, t: tg.embedding(i, t), i=tg.i64[3], t=tg.f32[0, 2])


# Comparison


@pytest.mark.parametrize(("result", "reference", "error"), [
    ([1.0, 2.0], [1.0, 2.5], 0.2), ([0.25], [0.0], 0.25), ([100.0, 1.0], [100.0, 2.0], 0.01), ([], [], 0.0),
    ([np.inf, np.nan, 1.0], [np.inf, np.nan, 1.0], 0.0), ([np.inf], [-np.inf], np.inf), ([np.nan], [1.0], np.inf),
    ([1.0], [np.nan], np.inf),
    ([1e30], [np.inf], np.inf), ([1.0, 2.0], [1.0], np.inf), ([np.nan], [np.nan], 0.0)])
def test_the_error_is_relative_to_the_largest(result: list[float], reference: list[float], error: float) -> None:
    comparison = compare(np.array(result), np.array(reference), 0.5)
    assert comparison.error == pytest.approx(error)
    assert comparison.ok == (error <= 0.5)


def test_an_interpreter_error_names_the_node() -> None:
    def model(x: Any, i: Any) -> Any:
        return tg.gather(x, i)  # this line

    graph = tg.trace(model, x=tg.f32[3], i=tg.i64[2])
    with pytest.raises(tg.InputError) as raised:
        tg.reference.run(graph, {"x": np.ones(3, np.float32), "i": np.array([0, 3])})
    text = str(raised.value)
    assert text.startswith("gather: index 3 at [1] is outside of -3 .. 2")
    assert f"{Path(__file__).name}:{model.__code__.co_firstlineno + 1}" in text
