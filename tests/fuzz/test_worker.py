"""Programs that crash or hang the process that compiles them, and failures shrunk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tgraph as tg
from tests.fuzz.faulty import faulty
from tgraph.testing.findings import Finding, Outcome
from tgraph.testing.shrink import shrink
from tgraph.testing.worker import Job, Pool

needs_cpu_time = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the CPU time of a process is read from /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1, limit=1.0, examine=faulty) as made:
        yield made


def outcome(pool: Pool, build: Callable[..., Any]) -> Outcome:
    return pool.ask(Job(0, str(tg.trace(build, x=tg.f32[4, 16]))))


@needs_cpu_time
def test_a_crash_and_a_hang_are_findings_and_the_pool_goes_on(pool: Pool) -> None:
    assert [f.kind for f in outcome(pool, tg.tanh).findings] == ["crash"]
    assert outcome(pool, tg.relu).findings == []
    assert [f.kind for f in outcome(pool, tg.exp).findings] == ["hang"]
    assert "signal 9 in O0 compile" in outcome(pool, tg.tanh).findings[0].detail
    assert outcome(pool, tg.relu).trials == 1


def test_a_failure_becomes_small(pool: Pool) -> None:
    def long(x: tg.Tensor) -> Any:
        y = tg.relu(x * 2.0) + x
        z = tg.cumsum(tg.softmax(y), axis=0)
        return tg.sigmoid(z * y) + tg.reduce_sum(x), y

    small = shrink(str(tg.trace(long, x=tg.f32[4, 16])), 0, Finding("wrong", "O3", "numbers"), pool)
    assert small.ops == ("cumsum", "mul") and small.nodes == 2
    assert "f32[2, 2]" in small.text  # its axes too


def test_programs_lost_together_are_examined_one_by_one(pool: Pool) -> None:
    found = {job.seed: (text, outcome) for job, text, outcome in pool.run([Job(0, ops=("relu", "add"), count=5)])}
    assert sorted(found) == [0, 1, 2, 3, 4] and all(text.startswith("graph program(") for text, _ in found.values())
    guilty = [outcome for _, outcome in found.values() if outcome.findings]  # none is by itself: the last one tells
    assert [f.kind for outcome in guilty for f in outcome.findings] == ["crash"]
    assert "not by itself" in guilty[0].findings[0].detail
    crashing = {job.seed: outcome for job, _, outcome in pool.run([Job(0, ops=("tanh",), count=2)])}
    assert [[f.kind for f in crashing[seed].findings] for seed in (0, 1)] == [["crash"], ["crash"]]
