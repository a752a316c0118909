"""A slice of the random programs, the same ones each time: the numpy target against cpu at O0 and O3.

More of them: python -m tests.fuzz --programs 20000 (tests/fuzz/README.md).
"""

from __future__ import annotations

from tests.fuzz.report import Tally
from tests.fuzz.worker import LEVELS, Job, Pool

PROGRAMS = 100


def test_a_slice_of_the_random_programs() -> None:
    tally = Tally()
    with Pool(1, limit=120.0) as pool:
        for job, text, outcome in pool.run(Job(seed, steps=LEVELS) for seed in range(PROGRAMS)):
            tally.add(job, text, outcome, torch=False)
    # how long a compilation took says something of the machine too, and decides nothing here
    failures = [f for f in tally.failures if f.finding.kind != "slow"]
    shown = "\n".join(f"seed {f.job.seed}: {f.finding.kind} at {f.finding.step}: {f.finding.detail}" for f in failures[:20])
    assert not failures, f"{len(failures)} failures of {PROGRAMS} programs; python -m tests.fuzz shrinks them\n{shown}"
    assert tally.excused <= tally.elements / 50, "too much is ill-conditioned to say much"
