"""A roofline plot by matplotlib: operations a second over operations a byte (Williams, Waterman, Patterson 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .figures import kept, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """A kernel: operations a byte, operations a second, and its share of the time, from 0 to 1."""

    name: str
    intensity: float
    flops_per_second: float
    share: float = 0.0


def roofline(points: Sequence[Point], peak: float, bandwidth: float, *, title: str | None = None,
             path: str | Path | None = None) -> Figure:
    """Points under the roof that a machine's peak (operations a second) and bandwidth (bytes a second) make.

    Points above the roof, in red, show that the yardstick does not hold for them: their data is in caches, say. path: the file to
    write, .png, .svg or .pdf. Returns matplotlib's Figure. Raises ModuleNotFoundError without matplotlib.
    """
    figure = new_figure((10, 5.4), "roofline plots need")
    axes = figure.subplots()
    ridge = peak / bandwidth
    low = min([ridge / 8, *(p.intensity / 2 for p in points)])
    high = max([ridge * 8, *(p.intensity * 2 for p in points)])
    axes.plot([low, ridge, high], [low * bandwidth / 1e9, peak / 1e9, peak / 1e9], color="#334155", linewidth=1.5)
    axes.axvline(ridge, color="#94a3b8", linewidth=0.8, linestyle=":")
    axes.annotate(f"memory {bandwidth / 1e9:.1f} GB/s", (low * 1.1, low * 1.1 * bandwidth / 1e9), xytext=(10, -6),
                  textcoords="offset points", fontsize=8, color="#334155")
    axes.annotate(f"peak {peak / 1e9:.0f} GFLOP/s", (high, peak / 1e9), xytext=(-4, 4), textcoords="offset points",
                  ha="right", fontsize=8, color="#334155")
    for number, point in enumerate(sorted(points, key=lambda p: -p.share), 1):
        above = point.flops_per_second > 1.001 * min(peak, point.intensity * bandwidth)
        axes.scatter([point.intensity], [point.flops_per_second / 1e9], s=40 + 900 * point.share, alpha=0.6,
                     color="#dc2626" if above else "#2563eb", edgecolors="white", linewidths=0.8,
                     label=f"{number}  {point.name} ({point.share:.1%})")
        axes.annotate(str(number), (point.intensity, point.flops_per_second / 1e9), ha="center", va="center", fontsize=7)
    if points:
        figure.legend(loc="outside right upper", fontsize=7.5, frameon=False, markerscale=0.5, handlelength=0.5,
                      title="kernel (share of the time)", title_fontsize=7.5, alignment="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_xlabel("FLOPs a byte")
    axes.set_ylabel("GFLOP/s")
    axes.grid(True, which="major", color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, fontsize=10)
    return kept(figure, path)

