"""The conditions under which a point was measured: what the machine could do beside it, and what else it did meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.harness.busy import BUSY, Watch
from benchmarks.harness.turns import Computes, Result, wait_until_quiet
from benchmarks.machine import Machine, Probe

CHANGED = 0.15  # the share by which two measurements of a yardstick may differ


@dataclass
class Conditions:
    """machine: with the best of the measurements right before and after. disturbed: what makes times doubtful, if anything."""

    machine: Machine
    disturbed: list[str] = field(default_factory=list)

    def saw(self, results: Sequence[Result]) -> None:
        """Note what the turns themselves showed."""
        restless = [result.name for result in results if result.restless]
        if restless:
            self.disturbed.append(f"{', '.join(restless)} kept computing in others' turns")


@contextmanager
def watched(probe: Probe, contenders: Sequence[Computes]) -> Iterator[Conditions]:
    """The conditions of what happens in the context, complete when it is over."""
    before = probe.measure()
    found = Conditions(before)
    wait_until_quiet([probe])
    watch = Watch(_used(contenders))
    yield found
    others = watch.share()
    wait_until_quiet(contenders)
    after = probe.measure()
    wait_until_quiet([probe])
    found.machine = before.best(after)
    if others > BUSY:
        found.disturbed.insert(0, f"other programs used {others:.0%} of the processors")
    for what, unit, values in (("peak", "GFLOP/s", (before.peak, after.peak)),
                               ("bandwidth", "GB/s", (before.bandwidth, after.bandwidth))):
        if min(values) < (1 - CHANGED) * max(values):
            found.disturbed.append(f"the {what} was {values[0] / 1e9:.3g} {unit} before and {values[1] / 1e9:.3g} after")


def _used(contenders: Sequence[Computes]) -> Callable[[], float]:
    """The processor seconds of these and of this process."""
    return lambda: time.process_time() + sum(c.cpu_seconds() or 0.0 for c in contenders)
