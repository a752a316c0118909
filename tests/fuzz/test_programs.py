"""A slice of the random programs, the same ones each time, compiled together: the numpy target against cpu at O0 and O3, bundles,
sessions, and ONNX Runtime.

More of them: tgraph fuzz --programs 20000 (docs/testing.md).
"""

from __future__ import annotations

from tgraph.testing.examination import WAYS
from tgraph.testing.report import Tally
from tgraph.testing.worker import Job, Pool

PROGRAMS, TOGETHER = 128, 16


def test_a_slice_of_the_random_programs() -> None:
    tally = Tally()
    ways = tuple(way for way in WAYS if way != "torch")
    with Pool(1, limit=240.0) as pool:
        for job, text, outcome in pool.run(Job(seed, ways=ways, count=TOGETHER) for seed in range(0, PROGRAMS, TOGETHER)):
            tally.add(job, text, outcome)
    # how long a compilation took says something of the machine too, and decides nothing here
    failures = [f for f in tally.failures if f.finding.kind != "slow"]
    shown = "\n".join(f"seed {f.job.seed}: {f.finding}" for f in failures[:20])
    assert not failures, f"{len(failures)} failures of {PROGRAMS} programs; tgraph fuzz makes them smaller\n{shown}"
    assert tally.excused <= tally.elements / 50, "too much is ill-conditioned to say much"
    for way in ("text", "json", "O0", "O3", "bundle", "several graphs"):
        assert tally.ways[way] >= PROGRAMS * 0.95, way
    assert tally.ways["session"] > 5 and tally.ways["onnx"] > PROGRAMS / 2, tally.not_comparable
