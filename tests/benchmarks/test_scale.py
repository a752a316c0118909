"""The simulated fleet keeps the laws that any fleet keeps, and what is said of several GPUs follows from its figures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.documents import natural_lengths
from benchmarks.machine import Machine
from benchmarks.scale import tables
from benchmarks.scale.figures import Figures, load
from benchmarks.scale.fleet import Fleet, Job, bounds, simulate
from benchmarks.scale.page import MARKED, PAGE, write
from benchmarks.scale.tensor import BERT_BASE, GPUS, H100, LLAMA_7B, WORKERS, Call, Gpu, layer_cost

pytest.importorskip("simpy")
JOB = Job(100_000, 700, 0.01, bytes_in=500, bytes_out=1500, bundle=90e6, start=2.0, part_seconds=0.02)
FLEETS = {
    "usual": Fleet(4, 8, jitter=0.1, storage=1e8, network=1e8, latency=0.05),
    "of two speeds": Fleet(4, 8, speeds=(1.0, 0.5), jitter=0.3),
    "of workers that fail": Fleet(4, 8, storage=1e8, network=1e8, worker_mtbf=60.0),
    "of nodes that fail": Fleet(4, 8, storage=1e8, network=1e8, latency=0.01, node_mtbf=15.0, repair=5.0),
    "behind slow storage": Fleet(4, 8, storage=1e6),
    "of one worker": Fleet(1, 1, worker_mtbf=100.0, node_mtbf=200.0, repair=10.0),
}


@pytest.mark.parametrize("name", FLEETS)
@pytest.mark.parametrize("seed", range(3))
def test_every_part_is_done_once_whatever_fails(name: str, seed: int) -> None:
    run = simulate(JOB, FLEETS[name], seed)
    assert run.finished == dict.fromkeys(range(JOB.parts), 1)
    assert (run.failures > 0) == ("fail" in name or name == "of one worker")


@pytest.mark.parametrize("name", FLEETS)
def test_time_is_accounted_for(name: str) -> None:
    """What workers spent is all the time that they had; and a run is the same a second time."""
    run = simulate(JOB, FLEETS[name], 1)
    assert sum(run.spent.values()) == pytest.approx(run.seconds * run.fleet.cores)
    assert min(run.spent.values()) >= 0
    again = simulate(JOB, FLEETS[name], 1)
    assert (again.seconds, again.spent) == (run.seconds, run.spent)


@pytest.mark.parametrize("name", FLEETS)
def test_no_run_beats_its_bounds(name: str) -> None:
    fleet = replace(FLEETS[name], jitter=0.0)  # with it, the work is known in the mean only
    assert simulate(JOB, fleet).seconds >= max(bounds(JOB, fleet).values()) * (1 - 1e-9)


def test_one_worker_takes_the_sum() -> None:
    job = Job(1000, 300, 0.5, start=3.0, part_seconds=0.25)
    assert simulate(job, Fleet(1, 1)).seconds == pytest.approx(3 + 1000 * 0.5 + 4 * 0.25)
    slow = Fleet(1, 1, speeds=(0.5,), latency=1.0)
    waits = 1 + 4 * 2  # for the bundle, and in and out of each part
    assert simulate(job, slow).seconds == pytest.approx(2 * (3 + 1000 * 0.5 + 4 * 0.25) + waits)


def test_storage_bounds_what_it_serves() -> None:
    """Behind storage that is slow enough, twice the workers are no faster, and the time is that of all bytes."""
    times = [simulate(JOB, Fleet(n, 8, storage=1e6)).seconds for n in (4, 8)]
    assert times[0] >= JOB.documents * 2000 / 1e6
    assert times[1] == pytest.approx(times[0] + 4 * JOB.bundle / 1e6, rel=0.05)  # four more bundles


def test_more_workers_take_no_longer() -> None:
    fleets = [Fleet(nodes, workers) for nodes, workers in ((1, 1), (1, 3), (2, 4), (4, 8), (16, 16), (64, 16))]
    times = [simulate(JOB, fleet).seconds for fleet in fleets]
    assert times == sorted(times, reverse=True)
    assert times[-1] == pytest.approx(JOB.start + 7.0 + 0.02)  # more workers than parts: the longest part


def test_a_part_of_a_dead_worker_is_begun_again() -> None:
    """Parts longer than a worker lives would never end; of shorter ones, those in hand are lost."""
    large, small = (simulate(replace(JOB, part=part), Fleet(4, 8, worker_mtbf=60.0)) for part in (5000, 200))
    assert large.spent["computing again"] > 3 * small.spent["computing again"] > 0
    assert large.seconds > small.seconds


def test_joining_comes_last_and_takes_one_process() -> None:
    job, fleet = replace(JOB, join=1e-4), Fleet(4, 8, storage=1e8, network=5e7)
    added = JOB.documents * (1e-4 + 2 * JOB.bytes_out / 5e7)
    assert simulate(job, fleet).seconds == pytest.approx(simulate(JOB, fleet).seconds + added)
    assert simulate(job, replace(fleet, nodes=8)).seconds > added


def test_nothing_to_do() -> None:
    assert simulate(replace(JOB, documents=0), Fleet(2, 2)).seconds == 0.0


def test_lengths_are_as_asked() -> None:
    lengths = natural_lengths(20_000, 24, 256)
    assert lengths.min() >= 3 and lengths.max() <= 256
    assert lengths.mean() == pytest.approx(24, rel=0.02)


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_several_gpus_never_win_more_than_their_number(gpu: Gpu) -> None:
    for shape, call in ((BERT_BASE, Call(1, 128, 128)), (LLAMA_7B, Call(8, 1, 2048)), (LLAMA_7B, Call(1, 2048, 2048))):
        one = layer_cost(gpu, shape, call, 1)
        assert one.reducing == 0.0
        for workers in WORKERS:
            if shape.heads % workers:
                continue
            cost = layer_cost(gpu, shape, call, workers)
            assert one.seconds / workers <= cost.seconds
            assert cost.share >= one.share / workers


def test_an_all_reduce_costs_latency_when_small_and_the_link_when_large() -> None:
    assert H100.all_reduce(2, 8) == pytest.approx(H100.latency[8], rel=1e-3)
    assert H100.all_reduce(1e9, 8) == pytest.approx(2 * 7 / 8 * 1e9 / H100.link, rel=0.01)
    with pytest.raises(ValueError, match="12 heads"):
        layer_cost(H100, BERT_BASE, Call(1, 128, 128), 8)


def some_figures() -> Figures:
    """Of a machine that does 4,000 tokens a second in MiniLM, and 100,000 in the tokenizer."""
    speed = [{"length": n, "rows": 1024 // n, "seconds": 0.256, "cpu": 0.256} for n in (16, 256)]
    texts = [{"length": n, "rows": 100, "bytes": 500 * n, "seconds": n / 1000, "cpu": n / 1000} for n in (16, 128)]
    vectors = {"width": 384, "rows": 100, "bytes": 153_600, "seconds": 0.001, "cpu": 0.001}
    start = {"bytes": 90e6, "width": 384, "import": 1.0, "load": 0.5, "cold_load": 0.6, "first": 0.02, "process": 2.0, "cpu": 1.8}
    files = {"tokenize": texts, "text": texts, "vectors": vectors, "part": {"seconds": 0.01, "cpu": 0.01},
             "join": {"rows": 100, "seconds": 0.001, "cpu": 0.001}, "disk": {"read": 1e9, "write": 1e9}}
    machine = Machine("znver4", "a CPU", (), (32768, 1 << 20, 1 << 25), 2, 2e11, 3e10)
    return Figures(machine, "2026-11-30", 0.0, {"minilm": {"1": speed, "2": speed}}, {"minilm": start}, {"minilm": 1.25}, files)


def test_the_cost_of_a_document_is_that_of_its_tokens() -> None:
    job = some_figures().job("minilm", 1000, np.repeat([16, 48], 32))
    tokens = 32  # on average
    assert job.seconds == pytest.approx(tokens / 4000 * 1.25 + 2 * tokens / 100_000 + 1e-5)
    assert (job.bytes_in, job.bytes_out) == pytest.approx((5 * tokens, 5 * tokens + 1536))


def test_figures_are_kept(tmp_path: Path) -> None:
    assert load(some_figures().save(tmp_path)) == some_figures()


def test_the_page_has_all_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "DOCUMENTS", 100_000)
    copy = tmp_path / "scale.md"
    copy.write_text(re.sub(MARKED, r"\1\3", PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    write(copy, some_figures())
    found = {m["name"]: m[0] for m in MARKED.finditer(copy.read_text(encoding="utf-8"))}
    assert "quiet machine" in found.pop("load")
    assert found.keys() == {"answer", "machine", "speed", "start", "bounds", "parts", "losses", "tensor", "validation"}
    for name, text in found.items():
        assert text.count("\n|") >= (2 if name == "validation" else 3), name


def test_natural_lengths_are_drawn_with_a_seed() -> None:
    assert np.array_equal(natural_lengths(10, 24, 256, seed=3), natural_lengths(10, 24, 256, seed=3))
