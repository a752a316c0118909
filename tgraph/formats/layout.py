"""Layered layout of the boxes of one level, with lanes for the signals that pass layers.

Lengths are in pixels, y grows downwards. `layering` assigns the layers, `layers` the order and positions within them.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .layering import around, layers_of
from .layers import LANE, SPACE, Cell, Link, order, place

GAP = 28.0  # between layers


@dataclass(eq=False)
class Box:
    """A rectangle to place; `x` and `y` are its upper left corner within the level that holds it."""

    width: float
    height: float
    shows: Any = None  # what is drawn: a Node, a Value, an output's name or a scope
    leaf: bool = False  # reads nothing, so it stands right above its first reader
    entries: dict[Hashable, float] = field(default_factory=dict)  # where a signal comes in at the top, if that is fixed
    exits: dict[Hashable, float] = field(default_factory=dict)  # the same for what goes out at the bottom
    x: float = 0.0
    y: float = 0.0
    boxes: list[Box] = field(default_factory=list)  # the level inside
    wires: list[Wire] = field(default_factory=list)


@dataclass
class Signal:
    """A value that flows from one box (None: from outside of the level) to others, and out of the level if it `leaves`."""

    key: Hashable
    tail: Box | None
    heads: list[Box]
    leaves: bool = False


@dataclass
class Wire:
    """A piece of a signal: from (x0, y0) straight down to y1, a curve to (x1, y2), straight down to y3."""

    key: Hashable
    x0: float
    y0: float
    y1: float
    x1: float
    y2: float
    y3: float
    arrow: bool  # whether it ends at a box that shows its reader


@dataclass
class Level:
    """A level with all its boxes placed; signals enter and leave at fixed places of its border."""

    width: float
    height: float
    wires: list[Wire]
    entries: dict[Hashable, float]
    exits: dict[Hashable, float]


def arrange(boxes: Sequence[Box], signals: Sequence[Signal]) -> Level:
    """Place the boxes of a level so that none overlap, and route its signals around them. The signals have no cycle."""
    layer_of = layers_of(boxes, signals)
    passing_by = around(boxes, signals, layer_of)
    entered = 1 if any(s.tail is None for s in signals) else 0
    last = max(layer_of.values(), default=-1) + entered + 1  # where signals leave
    cells = {box: Cell(box, layer_of[box] + entered) for box in boxes}
    layers: list[list[Cell]] = [[] for _ in range(last + 1)]
    for box in boxes:
        layers[cells[box].layer].append(cells[box])
    entries: dict[Hashable, Cell] = {}
    exits: dict[Hashable, Cell] = {}
    margins: list[Margin] = []
    for signal in signals:
        if signal.tail is None:
            start = entries[signal.key] = Cell(None, 0)
            layers[0].append(start)
        else:
            start = cells[signal.tail]
        ends = [cells[head] for head in signal.heads]
        if signal.leaves:
            exits[signal.key] = Cell(None, last)
            layers[last].append(exits[signal.key])
            ends.append(exits[signal.key])
        if signal.key in passing_by:
            margins.append(Margin(signal.key, start, ends))
        else:
            _lay_lane(signal.key, start, ends, layers)
    order(layers)
    place(layers)
    left = min((c.x - c.width / 2 for layer in layers for c in layer), default=0.0)
    right = max((c.x + c.width / 2 for layer in layers for c in layer), default=0.0)
    right += _beside(margins, right)
    for cell in (*(cell for layer in layers for cell in layer), *margins):
        cell.x -= left
    tops, bottoms = _heights(layers)
    for layer in layers:
        for cell in layer:
            if cell.box is not None:
                cell.box.x = cell.x - cell.width / 2
                cell.box.y = bottoms[cell.layer] - cell.height if cell.box.leaf else tops[cell.layer]
    return Level(right - left, bottoms[-1], _wires(layers, margins, tops, bottoms),
                 {k: c.x for k, c in entries.items()}, {k: c.x for k, c in exits.items()})


def _lay_lane(key: Hashable, start: Cell, ends: Sequence[Cell], layers: list[list[Cell]]) -> None:
    """Add the cells and links of one signal, from layer to layer down; all its readers share one lane."""
    by_layer: dict[int, list[Cell]] = {}
    for end in ends:
        by_layer.setdefault(end.layer, []).append(end)
    current = start
    for layer in range(start.layer + 1, max(by_layer, default=start.layer) + 1):
        passing = []
        if max(by_layer) > layer:
            passing = [Cell(None, layer)]
            layers[layer].append(passing[0])
        for lower in (*by_layer.get(layer, ()), *passing):
            _link(key, current, lower)
        current = passing[0] if passing else current


def _link(key: Hashable, upper: Cell, lower: Cell) -> None:
    link = Link(key, upper, lower)
    for cell, fixed, side in ((upper, "exits", "from_middle"), (lower, "entries", "to_middle")):
        places = {} if cell.box is None else getattr(cell.box, fixed)
        if key in places:
            setattr(link, side, places[key] - cell.width / 2)
    upper.below.append(link)
    lower.above.append(link)


class Margin(Cell):
    """A lane beside the layers: a signal enters it below its tail, runs straight down, and returns above each head."""

    __slots__ = ("ends", "key", "last", "start")

    def __init__(self, key: Hashable, start: Cell, ends: Sequence[Cell]):
        super().__init__(None, start.layer)
        self.key: Hashable = key
        self.start: Cell = start
        self.ends: Sequence[Cell] = ends
        self.last: int = max(end.layer for end in ends)


def _beside(margins: Sequence[Margin], right: float) -> float:
    """Place the lanes beside the layers, each at the leftmost position that is free, and link them. Returns their total width."""
    free: list[int] = []  # places that are free again
    busy: list[tuple[int, int]] = []  # (last layer, place)
    places = 0
    for margin in sorted(margins, key=lambda m: m.layer):
        while busy and busy[0][0] <= margin.layer:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            heapq.heappush(free, places)
            places += 1
        place = heapq.heappop(free)
        heapq.heappush(busy, (margin.last, place))
        margin.x = right + SPACE + (place + 0.5) * LANE
        near = [end for end in margin.ends if end.layer == margin.layer + 1]
        for end in near:
            _link(margin.key, margin.start, end)
        _link(margin.key, margin.start, margin)
        for end in margin.ends:
            if end not in near:
                _link(margin.key, margin, end)
    return SPACE + places * LANE if places else 0.0


def _heights(layers: Sequence[Sequence[Cell]]) -> tuple[list[float], list[float]]:
    """The top and bottom of each layer; there is more space between layers where many wires move sideways."""
    tops, bottoms, y = [], [], 0.0
    for i, layer in enumerate(layers):
        height = max((cell.height for cell in layer), default=0.0)
        tops.append(y)
        bottoms.append(y + height)
        sideways = sum(abs(k.upper.x + k.from_middle - k.lower.x - k.to_middle) > 200 for c in layer for k in c.below)
        if i + 1 < len(layers) and (any(c.below for c in layer) or layers[i + 1]):
            height += GAP + min(60.0, 4.0 * sideways)
        y += height
    return tops, bottoms


def _wires(layers: Sequence[Sequence[Cell]], margins: Sequence[Margin], tops: Sequence[float],
           bottoms: Sequence[float]) -> list[Wire]:
    starts: dict[Link, float] = {}
    stops: dict[Link, float] = {}
    for layer in layers:
        for cell in layer:
            _spread(cell, starts, stops)
    for margin in margins:
        stops[margin.above[0]] = margin.x
        starts.update((link, margin.x) for link in margin.below)
    wires = []
    for layer in (*layers, margins):
        for cell in layer:
            for link in cell.below:
                upper, lower = link.upper, link.lower
                y0 = tops[upper.layer] if upper.box is None else upper.box.y + upper.box.height
                y3 = tops[lower.layer] if lower.box is None else lower.box.y
                arrow = lower.box is not None and link.key not in lower.box.entries
                y1, y2 = bottoms[upper.layer], tops[lower.layer]
                if isinstance(upper, Margin):
                    y0 = y1 = bottoms[lower.layer - 1]
                if isinstance(lower, Margin):
                    y2, y3 = tops[upper.layer + 1], bottoms[lower.last - 1]
                wires.append(Wire(link.key, starts[link], y0, y1, stops[link], y2, y3, arrow))
    return wires


def _spread(cell: Cell, starts: dict[Link, float], stops: dict[Link, float]) -> None:
    """Set where links touch a cell: at fixed positions, or spread over the side of a box in the order of their other ends."""
    keys = {key: i for i, key in enumerate(dict.fromkeys(k.key for k in cell.below))}
    for link in cell.below:
        free = cell.box is not None and link.key not in cell.box.exits and len(keys) > 1
        share = (keys[link.key] + 1) / (len(keys) + 1) - 0.5 if free else 0.0
        starts[link] = cell.x + link.from_middle + share * cell.width
    free_links = [k for k in cell.above if cell.box is not None and k.key not in cell.box.entries]
    free_links.sort(key=lambda k: k.upper.x + k.from_middle)
    for link in cell.above:
        stops[link] = cell.x + link.to_middle
    for i, link in enumerate(free_links):
        stops[link] = cell.x + ((i + 1) / (len(free_links) + 1) - 0.5) * cell.width * 0.8
