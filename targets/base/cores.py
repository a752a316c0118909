"""How many cores a process may use: those that it may run on, and no more than its share of time (a container's --cpus)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def default_threads() -> int:
    """The cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = cpu_share()
    return cores if share is None else min(cores, max(1, math.ceil(share)))


def cpu_share(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """How many cores' time the control groups of this process give it (`docker run --cpus 1.5`); None if they do not say."""
    return min(_shares(groups, membership), default=None)


def _shares(groups: Path, membership: Path) -> Iterator[float]:
    """The share that each group allows, of both versions of Linux's control groups, from the process's own up to the root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        own = Path(name.lstrip("/"))
        for group in (own, *own.parents):  # a container sees its own group as the root
            found = _quota(groups / group / "cpu.max") if not controllers else _quota(
                groups / controllers / group / "cpu.cfs_quota_us", groups / controllers / group / "cpu.cfs_period_us")
            if found is not None:
                yield found


def _quota(*files: Path) -> float | None:
    """Time over period, in one file or two; None without a limit."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None
