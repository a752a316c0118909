"""A picture of a graph as SVG, laid out by tgraph itself: boxes by scope, signals from top to bottom."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from ..ir.file_formats import format
from ..ir.folding import Fold
from ..ir.graph import Graph
from ..ir.names import elements
from ..ir.printer import SHOWN_ELEMENTS
from ..ir.values import Input, Node, Parameter, Result, Value
from .clusters import TITLE, Closed, Named, Note, Output, Scope, nest
from .disk import replacing
from .labels import closed_label, closed_tooltip, node_label, node_tooltip, plain, times, value_label
from .layout import Box, Wire
from .single import single_graph
from .xml_text import xml_text

FONTS = ("DejaVu Sans Mono", "Menlo", "Consolas", "Liberation Mono")
_LINE = 15.0  # height of a line of text
_SIZES = {"op": 13.0, "text": 11.0, "note": 10.5, "scope": 12.0}  # font sizes by style class
_LONGEST = 46  # characters of a line; the tooltip has all of them
_STYLE = """
  .tgraph text { font-family: "DejaVu Sans Mono", "Menlo", "Consolas", "Liberation Mono", monospace }
  .tgraph text { fill: #334155; text-anchor: middle }
  .tgraph .op { font-size: 13px; font-weight: bold; fill: #0f172a }
  .tgraph .text { font-size: 11px }
  .tgraph .note { font-size: 10.5px }
  .tgraph .scope { font-size: 12px; fill: #475569; text-anchor: start }
  .tgraph .node rect { fill: #ffffff; stroke: #64748b }
  .tgraph .call rect { fill: #e0f2fe; stroke: #0369a1 }
  .tgraph .closed rect { fill: #e2e8f0; stroke: #475569 }
  .tgraph .behind, .tgraph .closed .behind { fill: #ffffff; stroke: #94a3b8 }
  .tgraph .input rect { fill: #dbeafe; stroke: #2563eb }
  .tgraph .parameter rect { fill: #fef3c7; stroke: #d97706 }
  .tgraph .constant rect { fill: #ede9fe; stroke: #7c3aed }
  .tgraph .output rect { fill: #dcfce7; stroke: #16a34a }
  .tgraph .cluster0 { fill: #f8fafc; stroke: #94a3b8 }
  .tgraph .cluster1 { fill: #eef2f7; stroke: #94a3b8 }
  .tgraph .wire { fill: none; stroke: #475569; stroke-width: 1.2 }
  .tgraph .weight { stroke: #d97706 }
  .tgraph g:hover > .wire { stroke: #dc2626; stroke-width: 2.4 }
"""
_ARROW = """<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
  markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5 L8 4 L0 7.5 z" fill="#475569"/></marker></defs>"""


@format(".svg")
class SvgFormat:
    """A picture for browsers: boxes by scope, details as tooltips."""

    @staticmethod
    def write(obj: Any, path: Path, *, graph: str | None = None, parameters: bool = True, fold: Fold = False) -> None:
        """Draw one graph (of a program: by name); with or without notes for parameters and constants, folded as `text` is."""
        with replacing(path) as file:
            file.write(to_svg(single_graph(obj, graph), parameters=parameters, fold=fold).encode())

    @staticmethod
    def render(graph: Graph, *, fold: Fold = False) -> str:
        """The picture of a graph."""
        return to_svg(graph, fold=fold)


def to_svg(graph: Graph, *, parameters: bool = True, fold: Fold = False) -> str:
    """The picture as one SVG document of its natural size, on a light background.

    fold: layers that are alike once, with their number ("× 12"), and scopes as single boxes below the depth that it gives; True:
    as deep as fits a screen.
    """
    root = nest(graph, _measure, parameters=parameters, fold_by=fold)
    width, height = f"{root.width:.0f}", f"{root.height:.0f}"
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" class="tgraph" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img">')
    lines = [head, f"<title>{xml_text(f'graph {graph.name}')}</title>", f"<style>{_STYLE}</style>", _ARROW,
             '<rect width="100%" height="100%" fill="#ffffff"/>']
    _draw(root, 0.0, 0.0, 0, lines)
    return "\n".join([*lines, "</svg>"]) + "\n"


def size_of(svg: str) -> tuple[float, float]:
    """The width and height of such a document."""
    found = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert found is not None
    return float(found[1]), float(found[2])


def _draw(box: Box, x: float, y: float, depth: int, lines: list[str]) -> None:
    """Append a box to the document, with (x, y) the corner of its parent: its frame, its wires, then the boxes inside."""
    x, y = x + box.x, y + box.y
    if not isinstance(box.shows, Scope):
        lines.append(_leaf(box, x, y))
        return
    if depth:
        lines.append(f'<g><title>{xml_text(box.shows.path)}</title>{_behind(x, y, box)}<rect class="cluster{(depth + 1) % 2}" '
                     f'{_frame(x, y, box)} rx="8"/></g>')
    wires: dict[Any, list[Wire]] = {}
    for wire in box.wires:
        wires.setdefault(wire.key, []).append(wire)
    for value, pieces in wires.items():
        weight = "" if isinstance(value, (Input, Result)) else " weight"
        lines.append(f"<g><title>{xml_text(_signal(value))}</title>"
                     + "".join(_path(w, x, y, weight) for w in pieces) + "</g>")
    if depth:
        lines.append(f'<text class="scope" x="{x + 10:.1f}" y="{y + TITLE - 7:.1f}">'
                     f"{xml_text(_clip(times(box.shows.title, box.shows.count)))}</text>")
    for inner in box.boxes:
        _draw(inner, x, y, depth + 1, lines)


def _leaf(box: Box, x: float, y: float) -> str:
    texts = []
    for i, (style, line) in enumerate(_lines(box.shows)):
        middle, base = x + box.width / 2, y + 16 + i * _LINE
        texts.append(f'<text class="{style}" x="{middle:.1f}" y="{base:.1f}">{xml_text(line)}</text>')
    corner = {"input": 14, "output": 14, "parameter": 2, "constant": 2}.get(_kind(box.shows), 6)
    return (f'<g class="{_kind(box.shows)}"><title>{xml_text(_tooltip(box.shows))}</title>{_behind(x, y, box)}'
            f'<rect {_frame(x, y, box)} rx="{corner}"/>{"".join(texts)}</g>')


def _behind(x: float, y: float, box: Box) -> str:
    """The edges of two more boxes behind one that stands for several."""
    if getattr(box.shows, "count", 1) < 2:
        return ""
    return "".join(f'<rect class="behind" {_frame(x + shift, y + shift, box)} rx="8"/>' for shift in (6, 3))


def _frame(x: float, y: float, box: Box) -> str:
    return f'x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'


def _path(wire: Wire, x: float, y: float, style: str) -> str:
    x0, x1 = wire.x0 + x, wire.x1 + x
    middle = (wire.y1 + wire.y2) / 2 + y
    marker = ' marker-end="url(#arrow)"' if wire.arrow else ""
    return (f'<path class="wire{style}"{marker} d="M{x0:.1f} {wire.y0 + y:.1f} V{wire.y1 + y:.1f} '
            f'C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {wire.y2 + y:.1f} V{wire.y3 + y:.1f}"/>')


def _lines(thing: object) -> list[tuple[str, str]]:
    """The lines of text of one box, each with its style."""
    if isinstance(thing, Node):
        first, *others = node_label(thing).split("\n")
        return [("op", _clip(first)), *(("text", _clip(line)) for line in others)]
    if isinstance(thing, Named):
        return [*_lines(thing.node), ("note", _clip(f"in {times(thing.title, thing.count)}"))]
    if isinstance(thing, Closed):
        first, *others = closed_label(thing.scope, times(thing.title, thing.count), thing.gives).split("\n")
        return [("op", _clip(first)), *(("text", _clip(line)) for line in others)]
    if isinstance(thing, Output):
        return [("text", _clip(f"{thing.name}: {plain(thing.value.type)}"))]
    if isinstance(thing, Note):
        named = f"{thing.name}: {plain(thing.value.type)}" if thing.name else value_label(thing.value)
        return [("note", _clip(named))]
    assert isinstance(thing, Input)
    return [("text", _clip(value_label(thing)))]


def _measure(thing: object) -> tuple[float, float]:
    """The width and height of the box for a node, leaf, output or scope."""
    if isinstance(thing, Scope):
        return _width(_clip(times(thing.title, thing.count)), "scope") + 8, TITLE
    lines = _lines(thing)
    return max(24.0, *(_width(line, style) for style, line in lines)) + 18, _LINE * len(lines) + 9


def _width(text: str, style: str) -> float:
    """The width of a line in pixels: letters of the fonts are at most 0.61 em wide, East Asian ones 1.05 em."""
    return sum(1.05 if unicodedata.east_asian_width(c) in "WF" else 0.61 for c in text) * _SIZES[style]


def _clip(line: str) -> str:
    return line if len(line) <= _LONGEST else line[:_LONGEST - 1] + "\u2026"


def _kind(thing: object) -> str:
    thing = thing.node if isinstance(thing, Named) else thing
    if isinstance(thing, Node):
        return "call" if isinstance(thing.attrs.get("function"), Graph) else "node"
    if isinstance(thing, Closed):
        return "closed"
    if isinstance(thing, Output):
        return "output"
    if isinstance(thing, Note):
        return "parameter" if isinstance(thing.value, Parameter) else "constant"
    return "input"


def _tooltip(thing: object) -> str:
    thing = thing.node if isinstance(thing, Named) else thing
    if isinstance(thing, Node):
        return node_tooltip(thing)
    if isinstance(thing, Closed):
        return closed_tooltip(thing.scope)
    if isinstance(thing, Output):
        return f"output {thing.name}: {plain(thing.value.type)}"
    if isinstance(thing, Note):
        value, label = thing.value, value_label(thing.value)
        if isinstance(value, Parameter):
            return f"parameter {label}"
        shown = value.data is not None and value.data.size <= SHOWN_ELEMENTS
        return f"{label} = {elements(value.data, value.dtype)}" if shown else label  # type: ignore[arg-type]
    assert isinstance(thing, Input)
    return f"input {thing.name}: {thing.type}"


def _signal(value: Value) -> str:
    if isinstance(value, Result):
        return f"{plain(value.type)} from {value.node.op.name}"
    return value_label(value)
