"""Programs that are not compiled: what passes leave of them, down to kernels, and what ONNX keeps, run by the reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from tgraph.testing.examination import examine
from tgraph.testing.figures import Figures
from tgraph.testing.findings import Outcome
from tgraph.testing.generator.program import program
from tgraph.testing.report import Tally
from tgraph.testing.ways import UNCOMPILED, ways_named
from tgraph.testing.worker import Job

PROGRAMS = 48
WITHOUT_TORCH = tuple(way for way in UNCOMPILED if way != "torch")


def test_a_slice_of_the_random_programs_without_compiling() -> None:
    tally = Tally()
    for seed in range(PROGRAMS):
        graph = program(seed)
        tally.add(Job(seed), str(graph), examine({seed: graph}, WITHOUT_TORCH)[seed])
    assert [f"seed {f.job.seed}: {f.finding}" for f in tally.failures] == []
    for way in WITHOUT_TORCH:
        assert tally.ways[way] >= PROGRAMS * 0.9, (way, tally.not_comparable)


def test_a_decomposition_that_is_wrong_is_found_where_it_is_used() -> None:
    @tg.op(elementwise=True)
    def third_of(x: tg.TensorType) -> tg.TensorType:
        """x / 3."""
        return x

    @third_of.reference
    def _(x: np.ndarray) -> np.ndarray:
        return x / 3

    @third_of.decomposition
    def _(b, x):  # type: ignore[no-untyped-def]
        return b.mul(x, 0.3)

    graph = tg.trace(lambda x: tg.third_of(x) + 1.0, x=tg.f32[tg.dim("B"), 4])
    outcome = examine({0: graph}, WITHOUT_TORCH)[0]
    taken_apart = {"kernels-cpu", "kernels-cuda", "onnx-import"}
    assert {(f.kind, f.step) for f in outcome.findings} == {("wrong", way) for way in taken_apart}
    assert {way for way in WITHOUT_TORCH if outcome.ways[way]} == {*WITHOUT_TORCH} - taken_apart


def test_ways_have_names_alone_and_together() -> None:
    assert ways_named("json, text") == ("text", "json")
    assert ways_named("uncompiled") == UNCOMPILED and set(ways_named("all")) == {*UNCOMPILED, "onnx", *ways_named("compiled")}
    with pytest.raises(tg.GraphError, match="no way 'O9'"):
        ways_named("text,O9")


def _tally(seed: int) -> Tally:
    tally = Tally()
    outcome = Outcome(3, elements=10, trials=3)
    outcome.cells["add", "f32"] += 2
    outcome.ways["text"] += 1
    tally.add(Job(seed), "", outcome)
    return tally


def test_figures_of_many_runs_add_up(tmp_path: Path) -> None:
    path = tmp_path / "nights.json"
    first = Figures.read(path)
    assert first.next_seed is None
    first.write(_tally(0), 0, 16)
    first.write(_tally(0), 0, 16)  # the same run, later
    second = Figures.read(path)
    assert second.next_seed == 16
    second.write(_tally(16), 16, 48)
    found = json.loads(path.read_text())
    assert found["seeds"] == [[0, 16], [16, 48]] and found["programs"] == 2 and found["elements"] == 20
    assert found["counts"] == {"add": {"f32": 4}} and found["ways"] == {"text": 2}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seeds": 3}', '{"seeds": [["x", 1]]}', '{"seeds": [], "programs": 1}',
                                  "\xff"])
def test_another_file_holds_no_figures(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(tg.FormatError, match=r"other\.json holds no figures of tgraph fuzz"):
        Figures.read(path)
    assert path.read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize(("share", "right"), [(1 / 3, True), (0.334, False)])
def test_numbers_of_parts_are_those_before_they_are_rounded(share: float, right: bool) -> None:
    """Both are 0.334 in bf16, with which 1000 / 3 is 334; but only one is the op's."""
    @tg.op(along=-1)
    def whole_thirds(x: tg.TensorType) -> tg.TensorType:
        """floor(x / 3) as integers."""
        return x.with_dtype(tg.i32)

    @whole_thirds.reference
    def _(x: np.ndarray) -> np.ndarray:
        return np.floor(x / 3).astype(np.int32)

    @whole_thirds.decomposition
    def _(b, x):  # type: ignore[no-untyped-def]
        return b.cast(b.floor(b.mul(x, share)), dtype=tg.i32)

    graph = tg.trace(lambda x: tg.whole_thirds(tg.cast(x, dtype=tg.bf16)), x=tg.i64[200].range(0, 1000))
    assert bool(examine({0: graph}, ["onnx-import"])[0]) == right
