"""The picture of a memory plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from targets.runtime.profile_rows import layer_of
from tgraph.plot.arena import Block, arena

if TYPE_CHECKING:
    from targets.runtime.memory import MemoryReport


def picture(report: MemoryReport, path: str | Path | None, color: Literal["scope", "op"]) -> str:
    """Rectangles of all values, as `MemoryReport.picture` says."""
    blocks = []
    for value in report.values:
        note = [f"{value.name}: {value.type}", f"{value.bytes} bytes at {value.offset}",
                f"written by call {value.first}, {value.kernel}, needed until call {value.last}"]
        note += [f"in {value.scope}"] if value.scope else []
        note += [f"in the place of {', '.join(value.reuses)}"] if value.reuses else []
        group = value.kernel if color == "op" else layer_of(value.scope)
        blocks.append(Block(value.first, value.last, value.offset, value.room, value.name, "\n".join(note), group))
    sizes = ", ".join(f"{name}={size}" for name, size in report.sizes.items())
    title = f"{report.name}{' at ' if sizes else ''}{sizes}: values between kernels in {report.planned_bytes / 1e6:.2f} MB"
    return arena(blocks, report.calls, report.planned_bytes, report.live, title, path)
