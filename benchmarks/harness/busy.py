"""What else the machine is doing."""

from __future__ import annotations

import os
import time
from pathlib import Path

BUSY = 0.1  # share of the processors in use above which times are not to be trusted


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_share(seconds: float = 0.3) -> float:
    """The share of all processors' time that others use while this process sleeps, 0 to 1; 0 where Linux's /proc is not there."""
    before = _jiffies()
    time.sleep(seconds)
    after = _jiffies()
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    return (after[0] - before[0]) / (after[1] - before[1])


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
