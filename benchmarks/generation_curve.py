"""A step's time by the length of the past, beside the time that reading the cache takes: a table, and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.generation import Timed


@dataclass(frozen=True)
class Curve:
    """Steps at batch 1, by weights and point. token_bytes: of a token's keys and values; bandwidth: bytes read in a second."""

    found: Mapping[str, Mapping[str, Sequence[Timed]]]
    token_bytes: int
    bandwidth: float

    def reading(self, point: str) -> float:
        """Milliseconds that reading a point's cache takes at least."""
        return _length(point) * self.token_bytes / self.bandwidth * 1e3

    def tables(self) -> str:
        """A table for each kind of weights, in Markdown.

        "added" is what a step takes more than at the first length, "reading" what reading the cache takes more. The columns of
        peers are their time over tgraph's.
        """
        return "\n".join(line for weights in self.found for line in self._table(weights))

    def _table(self, weights: str) -> Iterator[str]:
        points = self.found[weights]
        start, first = next(iter(points.items()))
        columns = ["past", "tgraph", "added", "reading", *(one.name for one in first[1:])]
        yield f"\n{weights}; memory is read at {self.bandwidth / 1e9:.1f} GB/s\n"
        yield "| " + " | ".join(columns) + " |"
        yield "| ---: " * len(columns) + "|"
        for point, (ours, *others) in points.items():
            times = (ours.milliseconds, ours.milliseconds - first[0].milliseconds, self.reading(point) - self.reading(start))
            ratios = (statistics.median(one.ratios(ours)) for one in others)
            cells = [str(_length(point)), *(f"{t:.2f} ms" for t in times), *(f"{r:.2f} x" for r in ratios)]
            yield "| " + " | ".join(cells) + " |"

    def draw(self, path: Path) -> None:
        """Milliseconds a step over the past; dashed: tgraph's first point, and the time that reading the cache adds to it."""
        import matplotlib

        from benchmarks.plot import COLOURS

        matplotlib.use("agg")
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tgraph", "font.size": 8})
        from matplotlib import pyplot

        figure, panels = pyplot.subplots(1, len(self.found), squeeze=False, layout="constrained",
                                         figsize=(4 * len(self.found), 3))
        for axes, (weights, points) in zip(panels[0], self.found.items()):
            lengths = [_length(point) for point in points]
            start, first = next(iter(points.items()))
            for i, one in enumerate(first):
                axes.plot(lengths, [timed[i].milliseconds for timed in points.values()], marker="o", markersize=3,
                          label=one.name, color=COLOURS.get(one.name, "#2ca02c" if i == 0 else None))
            base = first[0].milliseconds - self.reading(start)
            axes.plot(lengths, [base + self.reading(point) for point in points], "--", color="#2ca02c", linewidth=0.8,
                      label="reading the cache")
            axes.set(title=weights, xlabel="tokens of the past", ylabel="ms a step")
            axes.set_ylim(bottom=0)
            axes.grid(linewidth=0.3)
            axes.legend(fontsize=6)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        pyplot.close(figure)


def _length(point: str) -> int:
    return int(point.split("x")[1])
