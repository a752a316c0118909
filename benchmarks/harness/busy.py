"""What else the machine is doing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

BUSY = 0.1  # share of the processors in use above which times are not to be trusted


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_share(seconds: float = 0.3) -> float:
    """The share of all processors' time that others use while this process sleeps, 0 to 1; 0 where Linux's /proc is not there."""
    watch = Watch(lambda: 0.0)
    time.sleep(seconds)
    return watch.share()


class Watch:
    """Processor time that others use, from now on. own: the processor seconds that ours have used so far."""

    def __init__(self, own: Callable[[], float]):
        self._own, self._before, self._used = own, _jiffies(), own()

    def share(self) -> float:
        """Theirs since the beginning, and what a hypervisor takes, as a share of all processors' time; 0 if it is not known."""
        after = _jiffies()
        if self._before is None or after is None or after[1] <= self._before[1]:
            return 0.0
        own = (self._own() - self._used) * os.sysconf("SC_CLK_TCK")
        return max(0.0, after[0] - self._before[0] - own) / (after[1] - self._before[1])


def _jiffies() -> tuple[int, int] | None:
    """Time in use, and all time, since the start."""
    try:
        with Path("/proc/stat").open() as file:
            times = [int(field) for field in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    total = sum(times)
    idle = sum(times[3:5])  # idle, and waiting for a disk
    return total - idle, total
