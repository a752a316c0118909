"""Profiles: that lines add up, where nodes come from, and what is written of them. No time decides a test."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import tgraph as tg
from targets.base.registry import backend_of
from targets.base.yardstick import Yardstick
from targets.runtime.chrome_trace import trace_events
from targets.runtime.node_times import NodeTime, split
from targets.runtime.profile import By, Profile
from targets.runtime.profile_rows import Overhead, ProfileRow, layer_of, scope_path
from targets.runtime.profile_table import as_text
from tgraph import nn
from tgraph.ir.traffic import bytes_by_node

B, S = tg.dims("B S")
YARDSTICK = Yardstick(1e11, 1e10, 2)


class Encoder(nn.Module):
    def __init__(self) -> None:
        self.embedding = nn.Embedding(50, 16)
        self.layer = [nn.EncoderLayer(16, 2, 32), nn.EncoderLayer(16, 2, 32)]

    def __call__(self, ids: Any, mask: Any) -> Any:
        x = self.embedding(ids)
        for layer in self.layer:
            x = layer(x, mask)
        return tg.zero_padding(x, mask)


@pytest.fixture(scope="module")
def exe() -> tg.Executable:
    graph = tg.trace(Encoder(), ids=tg.i64[B, S].range(0, 50), mask=tg.bool_[B, S])
    return tg.compile(graph, passes="remove-padding,O3")


@pytest.fixture(scope="module")
def profile(exe: tg.Executable) -> Profile:
    return exe.profile(repeats=2, yardstick=YARDSTICK)


@pytest.mark.parametrize("by", get_args(By))
def test_all_lines_add_up_to_the_call(profile: Profile, by: By) -> None:
    groups = profile.by(by)
    assert sum(g.own for g in groups) == pytest.approx(profile.wall_microseconds)
    assert profile.microseconds == pytest.approx(profile.wall_microseconds)
    assert [g.name for g in groups if g.overhead] == ["inputs", "engine", "rest"]
    for counted in ("flops", "bytes"):
        total = sum(getattr(row, counted) for row in profile.rows)
        if by == "scope":
            assert getattr(groups[0], counted) == total
        else:
            assert sum(getattr(g, counted) for g in groups) == total


def test_scopes_have_all_that_is_inside_of_them(profile: Profile) -> None:
    scopes = {g.name: g for g in profile.by("scope", overheads=False)}
    for name, group in scopes.items():
        inner = [g for n, g in scopes.items() if g.depth == group.depth + 1 and (not group.depth or n.startswith(f"{name}."))]
        assert group.microseconds == pytest.approx(group.own + sum(g.microseconds for g in inner)), name
    assert {"layer.0.attention", "layer.1.attention", "layer.1"} <= scopes.keys()


def test_layers_that_share_kernels_keep_their_own_scopes(profile: Profile) -> None:
    """Both layers call the same functions, whose nodes know the first one's scopes."""
    by_layer: dict[str, set[str]] = {}
    for row, node in profile.parts():
        layer = layer_of(row.scope)
        if layer.startswith("layer."):
            by_layer.setdefault(layer, set()).add(node.scope.removeprefix(layer))
            assert node.scope.startswith(layer)
    assert by_layer["layer.0"] == by_layer["layer.1"] and ".attention" in "".join(by_layer["layer.0"])


def test_what_the_host_runs_is_a_row(profile: Profile) -> None:
    row = next(r for r in profile.rows if r.host)
    assert row.kernel == "unpack" and [n.op for n in row.nodes] == ["unpack"] and profile.sizes["N"] > 0
    assert len(row.samples) == 2 and row.microseconds > 0


def test_shares_of_a_call() -> None:
    assert split([1.0, 3.0]) == [0.25, 0.75] and split([0.0, 0.0]) == [0.5, 0.5]


def test_kernels_sum_their_nodes(profile: Profile) -> None:
    for row in profile.rows:
        assert sum(n.share for n in row.nodes) == pytest.approx(1)
        assert sum(n.flops for n in row.nodes) == row.flops and sum(n.bytes for n in row.nodes) == row.bytes


def traffic(function: Any, sizes: dict[str, int], **specs: Any) -> dict[str, int]:
    graph = tg.trace(function, **specs)
    return {f"{i} {node.op.name}": count for i, (node, count) in enumerate(bytes_by_node(graph, sizes).items())}


def test_bytes_of_a_kernel() -> None:
    n = {"B": 3}
    assert traffic(lambda x, y: tg.exp(x * y) + x, n, x=tg.f32[B, 4], y=tg.f32[4]) == {"0 mul": 48 + 16, "1 exp": 0, "2 add": 48}
    views = traffic(lambda x: tg.softmax(x.reshape(B * 4).reshape(B, 4)).swapaxes(0, 1), n, x=tg.f32[B, 4])
    assert sorted(views.values()) == [0, 0, 0, 96] and views["2 softmax"] == 96
    table = traffic(lambda t, i: tg.embedding(i, t), n, t=tg.f32[1000, 8], i=tg.i64[B])
    assert table == {"0 embedding": 3 * 8 * 4 + 3 * 8 + 3 * 8 * 4}
    narrow = traffic(lambda t, i: tg.embedding(i, tg.cast(t, tg.f32)), n, t=tg.f16[1000, 8], i=tg.i64[B])
    assert narrow == {"0 cast": 3 * 8 * 2, "1 embedding": 3 * 8 + 3 * 8 * 4}
    cut = traffic(lambda x: tg.exp(x[:, :2]), n, x=tg.f32[B, 8])
    assert sum(cut.values()) == 3 * 2 * 4 * 2


def test_the_place_on_the_roofline() -> None:
    profile = Profile("m", {}, yardstick=YARDSTICK)
    compute = profile.position(ProfileRow("gemm", "", 10.0, 500_000, 10_000))
    assert compute is not None and compute.bound == "compute" and compute.valid
    assert (compute.of_peak, compute.of_bandwidth, compute.of_roof) == pytest.approx((0.5, 0.1, 0.5))
    cached = profile.position(ProfileRow("norm", "", 1.0, 1_000, 20_000))
    assert cached is not None and cached.bound == "memory" and cached.of_bandwidth == pytest.approx(2) and not cached.valid
    assert profile.position(ProfileRow("view", "", 1.0, 0, 0)) is None


def test_products_of_narrow_types_have_a_peak_of_their_own() -> None:
    nodes = (NodeTime("integer_linear", "", "", 0.8, 800_000, 100, "i8"), NodeTime("gelu", "", "", 0.2, 100_000, 100))
    profile = Profile("m", {}, [ProfileRow("integer_linear_gelu", "", 10.0, 900_000, 200, nodes, (10.0,))])
    for narrow, seconds in (({"i8": 4e11}, 3e-6), ({"bf16": 2e11}, 9e-6)):  # of a type that was not measured as of f32
        profile.yardstick = Yardstick(1e11, 1e10, 2, narrow)
        for by in ("kernel", "call", "scope", "layer"):
            place = profile.position(profile.by(by)[0])
            assert place is not None and place.of_peak == place.of_roof == pytest.approx(seconds / 10e-6)
        of_op = {group.name: profile.position(group) for group in profile.by("op")}
        assert of_op["gelu"].of_peak == pytest.approx(1e-6 / 2e-6)
    assert "machine: 100 GFLOP/s, 200 of bf16, 10.0 GB/s" in as_text(profile, "kernel")


def test_products_of_bytes_are_measured_beside_products_of_bytes() -> None:
    """No kernel of integers is faster than the machine multiplies them, nor are nodes of others taken for such."""
    weight = np.random.default_rng(0).standard_normal((512, 512)).astype("f4")
    exe = tg.compile(tg.trace(lambda x: tg.gelu(tg.linear(x, weight)), x=tg.f32[B, 512]), weights="i8")
    profile = exe.profile(np.ones((512, 512), "f4"), repeats=3)
    rows = {node.op: node.multiplies for row in profile.rows for node in row.nodes}
    assert rows["integer_linear"] == "i8" and {kind for op, kind in rows.items() if op != "integer_linear"} == {""}
    rates = backend_of("cpu").rates(exe.target, 1)
    assert profile.yardstick is not None and set(profile.yardstick.narrow) == {"i8"} & rates.keys()
    best = profile.yardstick.best(Yardstick(1.0, 1.0, 2, {"i8": 1e18, "bf16": 1.0}))
    assert (best.peak, best.narrow) == (profile.yardstick.peak, {"i8": 1e18, "bf16": 1.0})


def made() -> Profile:
    nodes = (NodeTime("linear", "a.b", "m.py:3", 0.75, 60, 6), NodeTime("gelu", "a.c", "m.py:4", 0.25, 10, 4))
    rows = [ProfileRow("norm", "a.b", 1.0, 5, 8, (NodeTime("norm", "a.b", "", 1.0, 5, 8),), (1.0, 3.0)),
            ProfileRow("linear_gelu", "a", 4.0, 70, 10, nodes, (4.0, 6.0)),
            ProfileRow("add", "", 2.0, 1, 4, (NodeTime("add", "", "", 1.0, 1, 4),), (2.0, 2.0))]
    return Profile("m", {"B": 2}, rows, [Overhead("inputs", 0.5, "checks"), Overhead("rest", 2.5, "all else")], 10.0,
                   (9.0, 11.0), YARDSTICK, "cpu", 2)


def test_sums() -> None:
    found = {by: {g.name: (g.calls, g.microseconds) for g in made().by(by, overheads=False)} for by in get_args(By)}
    assert list(found["kernel"]) == ["linear_gelu", "add", "norm"]
    assert found["op"] == {"linear": (1, 3.0), "add": (1, 2.0), "norm": (1, 1.0), "gelu": (1, 1.0)}
    assert found["scope"] == {"(all kernels)": (3, 7.0), "a": (2, 5.0), "a.b": (2, 4.0), "a.c": (1, 1.0)}
    assert found["layer"] == {"a.b": (1, 1.0), "a": (1, 4.0), "(top)": (1, 2.0)}
    assert list(found["call"]) == ["0 norm  a.b", "1 linear_gelu  a", "2 add"] and len(found["node"]) == 4
    with pytest.raises(tg.InputError, match="summed by kernel, call"):
        made().by("line")  # type: ignore[arg-type]


def test_layers_by_scope() -> None:
    for scope, layer in (("/encoder/layer.11/attention/MatMul_1", "/encoder/layer.11"), ("/pooler/dense/Gemm", "/pooler/dense"),
                         ("model.layers.2.mlp/node_MatMul_7", "model.layers.2"), ("pooler.dense", "pooler.dense"), ("", "(top)"),
                         ("encoder.layer.0.attention.query", "encoder.layer.0"), ("3.norm", "3")):
        assert layer_of(scope) == layer and "".join(scope_path(scope)) == scope


def test_the_table() -> None:
    shown = as_text(made(), "op")
    assert "(the call)" in shown and "~3.0" in shown and "estimated" in shown and "machine: 100 GFLOP/s, 10.0 GB/s" in shown
    assert "above 100 %" not in shown
    fast = made()
    fast.yardstick = Yardstick(1e6, 1e6, 2)
    assert "%!" in as_text(fast, "kernel") and "above 100 %" in as_text(fast, "kernel")
    fast.overheads = [Overhead("rest", -3.0, "all else")]
    assert not fast.reconciled and "Measure again" in as_text(fast, "kernel")
    plain = made()
    plain.yardstick = None
    assert "of peak" not in as_text(plain, "scope")


# What is written

def events(profile: Profile) -> Iterator[tuple[str, str, float, float]]:
    for event in trace_events(profile):
        if event["ph"] == "X":
            yield event["name"], event["cat"], event["ts"], event["ts"] + event["dur"]


def test_a_trace_nests_and_lasts_as_long_as_the_call(profile: Profile, tmp_path: Path) -> None:
    profile.chrome_trace(tmp_path / "trace.json")
    content = json.loads((tmp_path / "trace.json").read_text())
    found = [e for e in content["traceEvents"] if e["ph"] == "X"]
    assert {e["cat"] for e in found} == {"scope", "kernel", "host", "node", "overhead"}
    assert all(e.keys() >= {"name", "ts", "dur", "pid", "tid"} and e["dur"] >= 0 for e in found)
    for track in (1, 2):
        open_until: list[float] = []
        for event in sorted((e for e in found if e["tid"] == track), key=lambda e: (e["ts"], -e["dur"])):
            while open_until and open_until[-1] <= event["ts"] + 1e-9:
                open_until.pop()
            assert not open_until or event["ts"] + event["dur"] <= open_until[-1] + 1e-6, event
            open_until.append(event["ts"] + event["dur"])
    assert sum(1 for e in found if e["cat"] in ("kernel", "host")) == len(profile.rows)


def test_the_events_of_a_trace() -> None:
    assert list(events(made())) == [
        ("a", "scope", 0.5, 5.5), ("a.b", "scope", 0.5, 1.5), ("inputs", "overhead", 0.0, 0.5), ("norm", "kernel", 0.5, 1.5),
        ("norm", "node", 0.5, 1.5), ("linear_gelu", "kernel", 1.5, 5.5), ("linear", "node", 1.5, 4.5), ("gelu", "node", 4.5, 5.5),
        ("add", "kernel", 5.5, 7.5), ("add", "node", 5.5, 7.5), ("rest", "overhead", 7.5, 10.0)]


def test_a_flame_graph(tmp_path: Path) -> None:
    text = made().flame_graph(tmp_path / "flame.svg")
    assert (tmp_path / "flame.svg").read_text() == text and "<script" not in text
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    frames = {}
    for group in root.iter(f"{space}g"):
        title, rectangle = group.find(f"{space}title"), group.find(f"{space}rect")
        assert title is not None and title.text and rectangle is not None
        frames[title.text.splitlines()[0]] = (float(rectangle.get("width", 0)), float(rectangle.get("y", 0)))
    whole = frames.pop("m at B=2: 0.010 ms")
    assert whole[0] == 1180
    assert {name: round(width / whole[0], 3) for name, (width, _) in frames.items()} == {
        "a": 0.5, "a.b": 0.4, "norm  in a.b": 0.1, "linear  in a.b": 0.3, "a.c": 0.1, "gelu  in a.c": 0.1, "add  in (top)": 0.2,
        "inputs": 0.05, "rest": 0.25}
    assert frames["a"][1] < whole[1] and frames["a.b"][1] < frames["a"][1]


def test_a_roofline_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = made().roofline(tmp_path / "roof.png")
    assert (tmp_path / "roof.png").read_bytes()[:4] == b"\x89PNG"
    points = {c.get_label(): tuple(c.get_offsets()[0]) for c in figure.axes[0].collections}
    assert points["1  linear_gelu (40.0%)"] == pytest.approx((7.0, 70 / 4e-6 / 1e9)) and len(points) == 3
    plain = made()
    plain.yardstick = None
    with pytest.raises(tg.InputError, match="no yardstick"):
        plain.roofline()


def test_numbers_as_json(profile: Profile) -> None:
    read = json.loads(json.dumps(profile.to_json()))
    parts = [r["microseconds"] for r in (*read["rows"], *read["overheads"])]
    assert sum(parts) == pytest.approx(read["microseconds"]) and read["yardstick"]["peak"] == 1e11
    assert all(n["estimated"] == (len(r["nodes"]) > 1) for r in read["rows"] for n in r["nodes"])


# Executables

def test_a_program_is_profiled_graph_by_graph() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(4, 4)

        def first(self, repeats: Any) -> Any:
            return self.linear(repeats)

        def second(self, x: Any) -> Any:
            return tg.exp(self.linear(x))

    exe = tg.compile(tg.trace_program(Two(), first={"repeats": tg.f32[B, 4]}, second={"x": tg.f32[B, 4]}))
    found = exe.profile(repeats=1, yardstick=False, second={"x": np.ones((9, 4), np.float32)})
    assert list(found) == ["first", "second"] and found["second"].sizes == {"B": 9} and found["first"].yardstick is None
    assert list(found.to_json()) == ["first", "second"] and "second at B=9" in str(found)
    assert exe.first.profile(repeats=np.ones((5, 4), np.float32), yardstick=False).sizes == {"B": 5}


def test_a_profile_leaves_the_executable_as_it_was(exe: tg.Executable) -> None:
    ids, mask = np.arange(6).reshape(2, 3), np.ones((2, 3), bool)
    before = exe(ids, mask)
    exe.profile(ids, mask, repeats=1, yardstick=False)
    assert np.array_equal(exe(ids, mask), before)


def test_the_machine_is_probed(exe: tg.Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([Yardstick(1e11, 3e10, 2), Yardstick(2e11, 1e10, 2)])
    monkeypatch.setattr(type(backend_of("cpu")), "probe", lambda self, target, threads: next(seen))
    assert exe.profile(repeats=1).yardstick == Yardstick(2e11, 3e10, 2)  # the best of before and after
