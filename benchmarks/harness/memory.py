"""How much memory this process holds, and the most that it held. Bytes; None where Linux's /proc is not there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def resident() -> int | None:
    """What it holds now."""
    return _status("VmRSS")


def peak() -> int | None:
    """The most since the start, or since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Measure the peak anew from here."""
    with suppress(OSError):  # the peak is then that of the whole process
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
