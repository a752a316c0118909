"""The report of a call's memory: its sums follow from the values, and it says what the plan does."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.runtime.memory import MemoryReport, PlacedValue, _with_reuse
from targets.runtime.runner import runner
from tgraph import nn

B, S, C = tg.dims("B S C")


@pytest.fixture(scope="module")
def exe() -> tg.Executable:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.layers = [nn.EncoderLayer(16, 2, 32), nn.EncoderLayer(16, 2, 32)]

        def __call__(self, x: Any, mask: Any) -> Any:
            for layer in self.layers:
                x = layer(x, mask)
            return tg.zero_padding(x, mask)

    return tg.compile(tg.trace(Model(), x=tg.f32[B, S, 16], mask=tg.bool_[B, S]), passes="remove-padding,O3")


@pytest.mark.parametrize("sizes", [{"B": 1, "S": 1}, {"B": 3, "S": 33}, {"B": 2, "S": 40, "N": 50}])
def test_sums_follow_from_the_values(exe: tg.Executable, sizes: dict[str, int]) -> None:
    report = exe.memory(**sizes)
    assert report.sizes == {"N": sizes["B"] * sizes["S"], **sizes}
    assert report.calls == [n.attrs["function"].name if "function" in n.attrs else "unpack (host)" for n in exe.kernels.nodes]
    ends = [v.offset + v.room for v in report.values]
    assert report.planned_bytes == report.arena_bytes == max(ends)
    assert report.lower_bound == max(report.live) <= report.planned_bytes <= report.unshared_bytes
    parts = report.lower_bound + report.alignment_bytes + report.fragmentation_bytes
    assert parts == report.planned_bytes and min(report.alignment_bytes, report.fragmentation_bytes) >= 0
    assert report.inputs == {"x": sizes["B"] * sizes["S"] * 64, "mask": sizes["B"] * sizes["S"]}
    assert report.weights_bytes == sum(a.nbytes for a in exe._weights.prepared.values())
    for value in report.values:
        maker = exe.kernels.nodes[value.first]
        assert value.scope == maker.provenance.scope and value.first <= value.last
        for other in report.values:
            together = value.first <= other.last and other.first <= value.last
            assert value is other or not together or value.offset >= other.offset + other.room or other.offset >= ends[
                report.values.index(value)]


def test_an_engine_takes_what_the_report_says(exe: tg.Executable) -> None:
    x = np.zeros((3, 33, 16), np.float32)
    exe(x, np.ones((3, 33), bool))
    assert exe._engine._layout({"B": 3, "S": 33}).arena_bytes == exe.memory(B=3, S=33).arena_bytes <= runner().arena.bytes


def value(name: str, first: int, last: int, offset: int, room: int) -> PlacedValue:
    return PlacedValue(name, "f32[4]", "k", "a.b", first, last, offset, room - 8, room)


VALUES = [value("%0", 0, 1, 0, 128), value("%1", 1, 2, 128, 64), value("%2", 2, 3, 0, 64), value("%3", 3, 3, 64, 128)]


def test_who_takes_whose_place() -> None:
    found = {v.name: v.reuses for v in _with_reuse(VALUES)}
    assert found == {"%0": (), "%1": (), "%2": ("%0",), "%3": ("%0", "%1")}
    four = [*VALUES, value("%4", 4, 4, 0, 192)]
    assert set(_with_reuse(four)[-1].reuses) == {"%2", "%3"}


def test_what_is_printed_and_drawn(tmp_path: Path) -> None:
    report = MemoryReport("m", "cpu", {"B": 2}, ["first", "a<b", "c", "d"], _with_reuse(VALUES), 192)
    assert report.live == [120, 176, 112, 176] and (report.lower_bound, report.alignment_bytes) == (176, 16)
    assert report.fragmentation_bytes == 0
    shown = str(report)
    assert "memory of m at B=2, cpu" in shown and "during call 1, a<b" in shown and "%0 %1" in shown
    assert len(report.cells(2)[1]) == 2 and json.loads(json.dumps(report.to_json()))["lower_bound"] == 176
    text = report.picture(tmp_path / "plan.svg", color="op")
    assert (tmp_path / "plan.svg").read_text() == text and "<script" not in text
    space = "{http://www.w3.org/2000/svg}"
    drawn = {}
    for group in ElementTree.fromstring(text).iter(f"{space}g"):
        title, rectangle = group.find(f"{space}title"), group.find(f"{space}rect")
        assert title is not None and title.text and rectangle is not None
        drawn[title.text.splitlines()[0]] = [float(rectangle.get(k, 0)) for k in ("x", "y", "width", "height")]
    step, height = 1100 / 4, 460 / 192
    assert drawn["%3: f32[4]"] == pytest.approx([78 + 3 * step, 46, step, 128 * height], abs=0.01)
    assert drawn["%0: f32[4]"] == pytest.approx([78, 46 + 64 * height, 2 * step, 128 * height], abs=0.01)
    assert "call 1: a<b" in drawn


def test_states_and_programs() -> None:
    class Total(nn.Module):
        def __init__(self) -> None:
            self.rows = nn.State(tg.f32[B, C, 4])

        def step(self, x: Any, position: Any) -> Any:
            self.rows.value = tg.update_slice(self.rows, x[:, None], position, axis=1)
            return self.rows.value.sum(axis=1)

        def other(self, x: Any) -> Any:
            return tg.softmax(tg.softmax(x) @ x)

    exe = tg.compile(tg.trace_program(Total(), step={"x": tg.f32[B, 4], "position": tg.i64[()]}, other={"x": tg.f32[S, S]}))
    report = exe.memory(B=2, C=8, S=16)
    assert report["step"].states == {"rows": 2 * 8 * 4 * 4} and "rows" not in report["step"].inputs
    assert report.arena_bytes == max(r.arena_bytes for r in report.values()) >= 16 * 16 * 4
    assert list(report.to_json()) == ["step", "other"] and "memory of other at S=16" in str(report)
    with pytest.raises(tg.InputError, match="has a dim T"):
        exe.memory(T=1)


def test_wrong_sizes() -> None:
    graph = tg.trace(tg.softmax, x=tg.f32[B, tg.dim("L", max=5)])
    exe = tg.compile(graph)
    for sizes, message in (({"T": 1}, "has no dim T; its dims: B, L"), ({"L": 6}, "dim L is 6"), ({"B": 1.5}, "is an integer")):
        with pytest.raises(tg.InputError, match=message):
            exe.memory(**sizes)  # type: ignore[arg-type]
    with pytest.raises(tg.TargetError, match="plans no memory"):
        tg.compile(graph, "numpy").memory(B=1)
    assert exe.memory(B=1).values == [] and exe.memory(B=1).arena_bytes == 0
