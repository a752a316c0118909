"""The machinery of `python -m benchmarks`, on tiny models: choosing, measuring, keeping, showing."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import __main__ as command
from benchmarks import conditions, tables
from benchmarks.harness.busy import Watch
from benchmarks.harness.peers import peer_of
from benchmarks.harness.turns import Result as Timed
from benchmarks.machine import Machine, Probe
from benchmarks.models.attention import attention_graph
from benchmarks.records import RESULTS, Record, Row, load, machines, save
from benchmarks.startup import StartupWorkload
from benchmarks.workload import REDUCED, ModelWorkload, Workload, at_sizes
from benchmarks.workloads import workloads
from targets.base.target import Target
from targets.cpu.probe_dots import dots_of
from tgraph.cli.models import load_graph

MACHINE = Machine("znver3", "Some CPU", ("avx2", "fma"), (32 << 10, 512 << 10, 32 << 20), 2, peak=2e11, bandwidth=2e10)


def record(point: str = "1x16", ours: float = 0.5, peer: float = 1.0) -> Record:
    rows = [Row(name, t, 0.9 * t, 1.1 * t, [t, t], 10, "1.0", added=2_000_000) for name, t in (("tgraph", ours), ("torch", peer))]
    return Record("bert", point, MACHINE, rows, flops=5e10, bytes=4e9, left_out={"openvino": "openvino: not here | there"})


def test_roofline() -> None:
    found = record()
    assert MACHINE.least_seconds(5e10, 4e9) == 0.25 and MACHINE.least_seconds(5e10, 8e9) == 0.4  # by arithmetic, by memory
    assert found.of_peak(found.ours) == found.of_roofline(found.ours) == 0.5
    assert found.best_peer is not None and found.best_peer.name == "torch"
    assert found.best_peer.ratio_to(found.ours) == (2.0, 2.0, 2.0) and found.ours.spread == pytest.approx(0.2)


def test_records_are_kept_by_point(tmp_path: Path) -> None:
    for point, ours in (("1x16", 0.5), ("8x128", 0.7), ("1x16", 0.25)):
        path = save(record(point, ours), tmp_path)
    assert path == tmp_path / "znver3-2" / "bert.json"
    found = load(path.parent)["bert"]
    assert [(r.point, r.ours.median) for r in found] == [("1x16", 0.25), ("8x128", 0.7)]
    assert found[0] == record("1x16", 0.25)


def test_the_highest_peak_counts_where_none_was_measured_beside_the_point(tmp_path: Path) -> None:
    slow, beside = record("8x128"), record("1x128")
    slow.machine = replace(MACHINE, peak=1e11, bandwidth=3e10)
    beside.machine, beside.beside, beside.disturbed = replace(MACHINE, peak=1.5e11), True, ["why"]
    for found in (record(), slow, beside):
        save(found, tmp_path)
    first, second, third = load(tmp_path / "znver3-2")["bert"]
    assert all((found.machine.peak, found.machine.bandwidth) == (2e11, 3e10) for found in (first, second))
    assert third == beside


def test_more_than_the_machine_can_do_is_invalid(tmp_path: Path) -> None:
    found = replace(record(ours=0.24), beside=True, disturbed=["other programs used 30% of the processors"])
    found.rows.append(replace(found.ours, name="torch i8", median=0.1))  # no peak is known of i8, and of its bytes nothing
    assert found.invalid == {"tgraph": pytest.approx(0.25 / 0.24)} and not record(ours=0.25).invalid
    found.machine = replace(MACHINE, dot_peaks={"i8": 4e11})
    assert found.invalid.keys() == {"tgraph", "torch i8"}
    save(found, tmp_path / "results")
    tables.write_results(tmp_path / "RESULTS.md", tmp_path / "results", {}, {})
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| 104% invalid | 104% invalid |" in text and "- 1x16: invalid: torch i8 reaches 125% of " in text
    assert "- 1x16: disturbed: other programs used 30% of the processors" in text
    assert "of other runs, not measured beside the point" not in text


def test_the_results_that_are_kept_are_records() -> None:
    """`--report` reads every file there; what is no record of a workload lies elsewhere."""
    for folder in machines(RESULTS):
        assert all(found.workload == name for name, records in load(folder).items() for found in records)


def test_conditions_say_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([MACHINE, replace(MACHINE, peak=1e11, bandwidth=2.1e10)])
    monkeypatch.setattr(Probe, "measure", lambda self: next(measured))
    monkeypatch.setattr(Watch, "share", lambda self: 0.25)
    with conditions.watched(Probe(2), []) as found:
        found.saw([Timed("tgraph"), Timed("torch", restless=True)])
    assert (found.machine.peak, found.machine.bandwidth) == (2e11, 2.1e10)
    assert found.disturbed == ["other programs used 25% of the processors", "torch kept computing in others' turns",
                               "the peak was 200 GFLOP/s before and 100 after"]


def test_what_this_process_uses_is_not_others() -> None:
    used = iter([0.0, 1e9])
    assert Watch(lambda: next(used)).share() == 0.0


def test_a_share_of_the_peak_is_that_of_what_is_multiplied(tmp_path: Path) -> None:
    found = record()
    found.machine = replace(MACHINE, dot_peaks={"bf16": 1e12})
    names = {"tgraph": 2e11, "tgraph bf16": 1e12, "tgraph bf16 weights": 2e11, "torch i8": 2e11}  # no peak is known of i8
    rows = [replace(found.ours, name=name) for name in names]
    assert [found.of_peak(row) for row in rows] == [pytest.approx(5e10 / 0.5 / peak) for peak in names.values()]
    faster = replace(found, point="8x128", machine=replace(MACHINE, dot_peaks={"i8": 3e12}))
    for one in (found, faster, record("1x512")):  # the last one as of a file from before tiles were known
        save(one, tmp_path)
    assert all(r.machine.dot_peaks == {"bf16": 1e12, "i8": 3e12} for r in load(tmp_path / "znver3-2")["bert"])


def test_tables_and_what_stands_around_them(tmp_path: Path) -> None:
    results, page = tmp_path / "results", tmp_path / "RESULTS.md"
    save(record(), results)
    tables.write_results(page, results, {}, {})
    text = page.read_text()
    assert "| 1x16 | 500.00 ms | 1.00 s | 2.00 x | torch | 100 | 50% | 50% |" in text
    assert "Some CPU (znver3: avx2, fma), 2 threads; L1 32 KB, L2 512 KB a core, L3 32 MB. " in text
    assert "Measured peak of f32 multiply-adds 200 GFLOP/s, memory read at 20.0 GB/s." in text
    assert "- left out: openvino: not here | there" in text and "](results" not in text
    page.write_text("Before.\n\n" + text + "\nWhat was tried.\n")
    save(record(ours=0.25), results)
    tables.write_results(page, results, {}, {"znver3-2": results / "znver3-2" / "speed.svg"})
    again = page.read_text()
    assert again.startswith("Before.") and again.endswith("What was tried.\n")
    assert "250.00 ms" in again and "500.00 ms" not in again and "](results/znver3-2/speed.svg)" in again
    tables.write_results(page, results, {}, {"znver3-2": results / "znver3-2" / "speed.svg"})
    assert page.read_text() == again


def test_markdown_and_startup() -> None:
    assert tables.markdown((("a", ">b"), [["x|y", "1"]])) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"
    found = record()
    found.flops = 0.0
    assert tables.table_of(found)[0][1] == ">ready after"
    assert tables.memory([record()])[1] == [["1x16", "2.0 MB", "2.0 MB"]]


def test_a_peer_with_fewer_bits_has_no_roofline_in_f32() -> None:
    found = record()
    found.rows[1].name = "torch i8"
    columns, rows = tables.details(found)
    assert [row[columns.index(">of roofline")] for row in rows] == ["50%", ""]


def test_choosing() -> None:
    known = workloads()
    assert all(set(w.quick) <= set(w.points) for w in known.values()) and len(known) == len({w.title for w in known.values()})
    assert command.choose(known, "bert-base/8x128,attention-*", quick=False) == {
        "bert-base": ["8x128"], "attention-full": ["128", "512", "2048", "8192"],
        "attention-causal": ["128", "512", "2048", "8192"]}
    assert command.choose(known, "", quick=True).keys() >= {"minilm", "bert-base", "minilm-ragged", "attention-full", "startup"}
    for arguments, message in ((["--only", "bret"], "no workload is called 'bret'"), (["--peers", "tensorflow"], "unknown peer"),
                               (["--only", "attention-causal", "--quick"], "a quick run has no points of attention-causal")):
        assert message in run(*arguments, fails=2).output
    assert "attention-full" in run("--list").output
    assert command.choose_peers("none", ()) == []


def run(*arguments: str, fails: int = 0) -> Result:
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == fails, (arguments, result.output, result.exception)
    return result


def tiny() -> dict[str, Workload]:
    """One workload of each kind."""
    arguments = {"heads": 2, "head_dim": 8, "causal": True}
    found: list[Workload] = [
        ModelWorkload(name="attention", title="Attention", points={"5": 2, "7": 2}, quick=("5",), memory=True,
                      graph=partial(attention_graph, **arguments),
                      peer=lambda: {"class": "benchmarks.models.attention:AttentionPeer", "arguments": arguments},
                      point=lambda graph, name: at_sizes(graph, {"B": 1, "S": int(name)})),
        ModelWorkload(name="bert-reduced", title="BERT", points={"1x4": 1}, reduced=True, graph=partial(load_graph, "bert-tiny"),
                      peer=partial(peer_of, "bert-tiny"), point=lambda graph, name: at_sizes(graph, {"B": 1, "S": 4})),
        StartupWorkload(name="startup", title="Start", points={"bert-tiny": 1}),
    ]
    return {workload.name: workload for workload in found}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "workloads", tiny)
    monkeypatch.setattr(Probe, "measure", lambda self: MACHINE)


def test_a_run(small: None, tmp_path: Path) -> None:
    output = tmp_path / "results"
    shown = run("--only", "attention", "--peers", "onnxruntime", "--threads", "1", "--output", str(output)).output
    assert "attention 5: " in shown and "attention 7: " in shown and "left out" not in shown
    values = json.loads((output / "znver3-2" / "attention.json").read_text())
    assert [v["point"] for v in values] == ["5", "7"]
    for value in values:
        ours, peer = value["rows"]
        assert (ours["name"], peer["name"]) == ("tgraph", "onnxruntime") and peer["error"] < 1e-5
        assert len(ours["rounds"]) == len(peer["rounds"]) == 2 and peer["choice"]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "### Attention" in text and "`python -m benchmarks --only attention --threads 2`" in text
    (tmp_path / "RESULTS.md").unlink()
    run("--report", "--output", str(output))
    assert (tmp_path / "RESULTS.md").read_text() == text


def test_fewer_bits_and_starting(small: None, tmp_path: Path) -> None:
    output = tmp_path / "results"
    run("--only", "bert-reduced,startup", "--peers", "onnxruntime", "--output", str(output))
    found = load(output / "znver3-2")
    reduced, = found["bert-reduced"]
    names = [row.name for row in reduced.rows]
    assert names[0] == "tgraph" and "onnxruntime i8" in names and not [n for n in names if n.startswith(("torch", "openvino"))]
    assert {*names[1:], *reduced.left_out} == {name for name, runtime, _ in REDUCED if runtime in ("tgraph", "onnxruntime")}
    assert 0 < next(row.error for row in reduced.rows if row.name == "onnxruntime i8") < 0.3
    started, = found["startup"]
    names = [row.name for row in started.rows] + list(started.left_out)
    assert sorted(names) == ["onnxruntime", "tgraph", "tgraph, bundle", "tgraph, compiled before"]
    assert all(row.first > 0 and row.median > 0 for row in started.rows)


def test_a_failing_workload_does_not_stop_the_others(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, Workload]:
        known = tiny()
        bad = ModelWorkload(name="bad", title="Bad", points={"1": 1}, graph=partial(load_graph, "absent.tg"), peer=lambda: None,
                            point=lambda graph, name: at_sizes(graph, {}))
        return {"bad": bad, "attention": known["attention"]}

    monkeypatch.setattr(command, "workloads", broken)
    shown = run("--peers", "none", "--rounds", "1", "--output", str(tmp_path / "results")).output
    assert "bad: " in shown and "absent.tg" in shown and "attention 7: " in shown


def test_quick_keeps_nothing_unless_asked_to(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    shown = run("--quick", "--peers", "none").output
    assert "attention 5: " in shown and "attention 7: " not in shown and "wrote" not in shown
    assert not (tmp_path / "results").exists()


def test_the_probe_measures_this_machine() -> None:
    with Probe(1) as probe:
        found, again = probe.measure(), probe.measure()
    assert found.peak > 1e8 and found.bandwidth > 1e8 and found.name == f"{found.cpu}-1"
    assert found.dot_peaks.keys() == again.dot_peaks.keys() == dots_of(Target.parse("cpu")).keys()
    assert all(peak > 1e8 for peak in found.dot_peaks.values())
    values = json.loads(json.dumps(found.to_json()))
    assert Machine.from_json(values) == found
    values["tile_peaks"] = values.pop("dot_peaks")  # as files before have it
    assert Machine.from_json(values) == found
