"""Figures of matplotlib, which is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..formats.disk import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(size: tuple[float, float], who: str) -> Figure:
    """An empty figure of a size in inches. Raises ModuleNotFoundError without matplotlib, and begins with `who`: "plots need"."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{who} matplotlib: pip install tgraph-compiler[plot]", name=error.name) from None
    return Figure(figsize=size, layout="constrained")


def kept(figure: Figure, path: str | Path | None) -> Figure:
    """The figure, written to a file if there is a path."""
    if path is not None:
        suffix = Path(path).suffix
        with replacing(Path(path) if suffix else Path(f"{path}.png")) as file:
            figure.savefig(file, dpi=150, format=suffix[1:] or "png")
    return figure
