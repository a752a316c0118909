"""The places of values in an arena over time, as SVG without scripts: time to the right, addresses upwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..formats.xml_text import xml_text
from .svg import CHARACTER, box, color, document

LEFT, TOP, RIGHT, SIZE = 78.0, 46.0, 16.0, 11.0
WIDTH, HEIGHT = 1100.0, 460.0  # of the plot itself; wider for many calls
NARROWEST = 7.0  # pixels for a call
_STYLE = f"text {{ font-size: {SIZE}px; fill: #0f172a; pointer-events: none }} .title {{ font-size: 14px; font-weight: bold }} " \
         ".tick { font-size: 10px; fill: #475569 } .end { text-anchor: end } .middle { text-anchor: middle } " \
         "rect { stroke: #ffffff; stroke-width: 0.8 } g:hover > rect { stroke: #0f172a; stroke-width: 1.6 } " \
         ".grid { stroke: #e2e8f0 } .live { fill: none; stroke: #dc2626; stroke-width: 1.6; stroke-dasharray: 5 3; " \
         "pointer-events: none }"


@dataclass(frozen=True)
class Block:
    """A value: the calls from `first` to `last` need it, its place in bytes, its name and tooltip, and what gives its colour."""

    first: int
    last: int
    offset: int
    size: int
    label: str
    note: str
    group: str


def arena(blocks: Sequence[Block], calls: Sequence[str], size: int, live: Sequence[int], title: str,
          path: str | Path | None = None) -> str:
    """A rectangle for each block; `live`, the bytes that are needed during each call, as a dashed line.

    The plot is as high as the arena of `size` bytes. Returns the SVG document, and writes it to `path`.
    """
    step = max(WIDTH / max(len(calls), 1), NARROWEST)
    width, scale = step * max(len(calls), 1), HEIGHT / max(size, 1)
    bottom = TOP + HEIGHT
    content = [f'<text class="title" x="10" y="20">{xml_text(title)}</text>',
               '<text class="tick" x="10" y="36">dashed: bytes needed during each call; no plan is lower than its top</text>']
    for mark in _marks(size):
        y = bottom - mark * scale
        content.append(f'<path class="grid" d="M{LEFT:.1f} {y:.1f} h{width:.1f}"/>'
                       f'<text class="tick end" x="{LEFT - 6:.1f}" y="{y + 3.5:.1f}">{_megabytes(mark, size)}</text>')
    for block in blocks:
        x, y = LEFT + block.first * step, bottom - (block.offset + block.size) * scale
        across, up = (block.last - block.first + 1) * step, max(block.size * scale, 0.5)
        content.append(box(x, y, across, up, color(block.group), block.note, block.label if up >= SIZE else "", SIZE))
    if live:
        points = [f"M{LEFT:.1f} {bottom - live[0] * scale:.1f}"]
        points += [f"V{bottom - count * scale:.1f} h{step:.2f}" for count in live]
        content.append(f'<path class="live" d="{" ".join(points)}"/>')
    content += _calls(calls, step, bottom)
    legend, below = _legend(list(dict.fromkeys(block.group for block in blocks)), LEFT + width, bottom + 30)
    return document(LEFT + width + RIGHT, below + 10, title, _STYLE, [*content, *legend], path)


def _marks(size: int) -> list[int]:
    """Round numbers of bytes from 0 to a size, about six."""
    rough = max(size / 6, 1)
    unit = 10 ** (len(str(int(rough))) - 1)
    distance = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return list(range(0, size + 1, int(distance)))


def _megabytes(count: int, size: int) -> str:
    return f"{count / 1e6:g} MB" if size >= 1e6 else f"{count / 1e3:g} kB"


def _calls(calls: Sequence[str], step: float, bottom: float) -> list[str]:
    """Numbers of calls below, as many as there is room for; the names as tooltips."""
    every = max(1, -(-24 // int(step)))
    found = []
    for number, name in enumerate(calls):
        label = f'<text class="tick middle" x="{LEFT + (number + 0.5) * step:.1f}" y="{bottom + 13:.1f}">{number}</text>'
        found.append(f'<g><title>{xml_text(f"call {number}: {name}")}</title><rect x="{LEFT + number * step:.2f}" '
                     f'y="{bottom + 1:.1f}" width="{step:.2f}" height="15" fill="#f1f5f9"/>'
                     f'{"" if number % every else label}</g>')
    return found


def _legend(groups: Sequence[str], width: float, y: float) -> tuple[list[str], float]:
    """Colours of groups in lines below the plot, and where these end."""
    found, x = [], LEFT
    for group in groups:
        needed = 22 + len(group) * CHARACTER * SIZE + 14
        if x + needed > width and x > LEFT:
            x, y = LEFT, y + 17
        found.append(f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="12" height="12" fill="{color(group)}"/>'
                     f'<text x="{x + 17:.1f}" y="{y:.1f}">{xml_text(group)}</text>')
        x += needed
    return found, y
