"""Flame graphs (Gregg 2013) as SVG without scripts: frames that lie in others, as wide as what is measured in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..formats.xml_text import xml_text
from .svg import box, color, document

WIDTH, ROW, TOP, SIZE = 1200.0, 19.0, 34.0, 11.0
NARROWEST = 0.2  # pixels; what is narrower is left out
_STYLE = f"text {{ font-size: {SIZE}px; fill: #0f172a; pointer-events: none }} .title {{ font-size: 14px; font-weight: bold }} " \
         "rect { stroke: #ffffff; stroke-width: 0.6 } g:hover > rect { stroke: #0f172a; stroke-width: 1.4 }"


@dataclass(frozen=True)
class Frame:
    """A frame's own value, without those inside of it; its tooltip; its kind, "scope", "op" or "overhead"; what it is about."""

    value: float
    note: str
    kind: str = "scope"
    about: tuple[str, ...] = ()


def flame(frames: Mapping[tuple[str, ...], Frame], title: str, path: str | Path | None = None) -> str:
    """The graph of frames by their path from the outermost, the root below and the innermost on top.

    Frames of one parent stand side by side in the order of the mapping. Returns the SVG document, and writes it to `path`.
    """
    totals: dict[tuple[str, ...], float] = {}
    inside: dict[tuple[str, ...], dict[tuple[str, ...], None]] = {}
    for whole, frame in frames.items():
        for length in range(len(whole) + 1):
            totals[whole[:length]] = totals.get(whole[:length], 0.0) + frame.value
            if length:
                inside.setdefault(whole[:length - 1], {})[whole[:length]] = None
    depth = max(map(len, frames), default=0)
    height = TOP + ROW * (depth + 1) + 10
    scale = (WIDTH - 20) / (totals.get((), 0.0) or 1.0)
    content = [f'<text class="title" x="10" y="21">{xml_text(title)}</text>']
    stack: list[tuple[tuple[str, ...], float]] = [((), 10.0)]
    while stack:
        whole, x = stack.pop()
        width = totals.get(whole, 0.0) * scale
        if width < NARROWEST and whole:
            continue
        frame = frames.get(whole, Frame(0.0, "".join(whole) or title))
        content.append(box(x, height - 10 - ROW * (len(whole) + 1), width, ROW, _fill(whole, frame), frame.note,
                           whole[-1].strip(" .") if whole else "the call", SIZE))
        for inner in inside.get(whole, ()):
            stack.append((inner, x))
            x += totals[inner] * scale
    return document(WIDTH, height, title, _STYLE, content, path)


def _fill(whole: tuple[str, ...], frame: Frame) -> str:
    if not whole or frame.kind == "overhead":
        return "#cbd5e1"
    if frame.kind == "op":
        return color(whole[-1], 0, 55, 85, 72)
    return color(whole[-1], 180, 260, 50, 82)

