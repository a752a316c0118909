"""Programs that crash or hang the process that compiles them, and failures shrunk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tgraph as tg
from tests.fuzz.faulty import faulty
from tests.fuzz.shrink import shrink
from tests.fuzz.trial import Finding, Outcome
from tests.fuzz.worker import Job, Pool

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
