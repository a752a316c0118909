"""Layered layout of the boxes of one level: layers by longest path, order by barycentres, places by least squares.

Source: Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981).
Lengths are in pixels, y grows downwards.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

LANE = 10.0  # width of a wire that passes a layer
SPACE = 18.0  # between boxes of one layer
GAP = 28.0  # between layers
SWEEPS = 8
STRAIGHT = (3.0, 1.0, 10.0)  # the pull of a link between two boxes, a box and a lane, two pieces of a lane


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
    """What flows from one box (None: from outside of the level) to others, and out of the level if it `leaves`."""

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


class _Cell:
    """A place in a layer: a box, or where a wire passes."""

    __slots__ = ("box", "layer", "width", "height", "x", "rank", "above", "below")

    def __init__(self, box: Box | None, layer: int):
        self.box, self.layer = box, layer
        self.width = LANE if box is None else box.width
        self.height = 0.0 if box is None else box.height
        self.x = 0.0  # of the middle
        self.rank = 0
        self.above: list[_Link] = []
        self.below: list[_Link] = []


@dataclass(eq=False)
class _Link:
    """A piece of a signal between neighbouring layers; offsets are from the middles of the cells."""

    key: Hashable
    upper: _Cell
    lower: _Cell
    from_middle: float = 0.0
    to_middle: float = 0.0
    pull: float = 0.0  # how much it wants to be straight

    def __post_init__(self) -> None:
        self.pull = STRAIGHT[(self.upper.box is None) + (self.lower.box is None)]

    @property
    def shift(self) -> float:
        """How far right of the upper cell's middle the lower one should be. Boxes with boxes inside stand in a column."""
        both = self.upper.box is not None and self.lower.box is not None
        if both and self.upper.box.boxes and self.lower.box.boxes:  # type: ignore[union-attr]
            return 0.0
        return self.from_middle - self.to_middle


def arrange(boxes: Sequence[Box], signals: Sequence[Signal]) -> Level:
    """Place the boxes of a level so that none overlap, and route its signals around them. The signals have no cycle."""
    layer_of = _layers(boxes, signals)
    entered = 1 if any(s.tail is None for s in signals) else 0
    last = max(layer_of.values(), default=-1) + entered + 1  # where signals leave
    cells = {box: _Cell(box, layer_of[box] + entered) for box in boxes}
    layers: list[list[_Cell]] = [[] for _ in range(last + 1)]
    for box in boxes:
        layers[cells[box].layer].append(cells[box])
    entries: dict[Hashable, _Cell] = {}
    exits: dict[Hashable, _Cell] = {}
    for signal in signals:
        if signal.tail is None:
            start = entries[signal.key] = _Cell(None, 0)
            layers[0].append(start)
        else:
            start = cells[signal.tail]
        ends = [cells[head] for head in signal.heads]
        if signal.leaves:
            exits[signal.key] = _Cell(None, last)
            layers[last].append(exits[signal.key])
            ends.append(exits[signal.key])
        _lay_lane(signal.key, start, ends, layers)
    _order(layers)
    _place(layers)
    left = min((c.x - c.width / 2 for layer in layers for c in layer), default=0.0)
    right = max((c.x + c.width / 2 for layer in layers for c in layer), default=0.0)
    for layer in layers:
        for cell in layer:
            cell.x -= left
    tops, bottoms = _heights(layers)
    for layer in layers:
        for cell in layer:
            if cell.box is not None:
                cell.box.x = cell.x - cell.width / 2
                cell.box.y = bottoms[cell.layer] - cell.height if cell.box.leaf else tops[cell.layer]
    return Level(right - left, bottoms[-1], _wires(layers, tops, bottoms),
                 {k: c.x for k, c in entries.items()}, {k: c.x for k, c in exits.items()})


def _layers(boxes: Sequence[Box], signals: Iterable[Signal]) -> dict[Box, int]:
    """The length of the longest chain that ends at each box; leaves move down to their first reader."""
    import networkx

    order = networkx.DiGraph()
    order.add_nodes_from(boxes)
    order.add_edges_from((s.tail, head) for s in signals if s.tail is not None for head in s.heads)
    layer = {box: i for i, generation in enumerate(networkx.topological_generations(order)) for box in generation}
    for box in boxes:
        if box.leaf:
            layer[box] = min((layer[reader] for reader in order.successors(box)), default=1) - 1
    return layer


def _lay_lane(key: Hashable, start: _Cell, ends: Sequence[_Cell], layers: list[list[_Cell]]) -> None:
    """Lead one signal down, layer by layer; all its readers share the lane."""
    by_layer: dict[int, list[_Cell]] = {}
    for end in ends:
        by_layer.setdefault(end.layer, []).append(end)
    current = start
    for layer in range(start.layer + 1, max(by_layer, default=start.layer) + 1):
        passing = []
        if max(by_layer) > layer:
            passing = [_Cell(None, layer)]
            layers[layer].append(passing[0])
        for lower in (*by_layer.get(layer, ()), *passing):
            link = _Link(key, current, lower)
            for cell, fixed, side in ((current, "exits", "from_middle"), (lower, "entries", "to_middle")):
                places = {} if cell.box is None else getattr(cell.box, fixed)
                if key in places:
                    setattr(link, side, places[key] - cell.width / 2)
            current.below.append(link)
            lower.above.append(link)
        current = passing[0] if passing else current


def _order(layers: list[list[_Cell]]) -> None:
    """Reorder each layer by the mean place of its neighbours, down and up in turn; the order with fewest crossings stays."""
    _rank(layers)
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = {cell: _barycentre(cell, down) for cell in layer}
            layer.sort(key=lambda c: (wanted[c], c.rank))
            for rank, cell in enumerate(layer):
                cell.rank = rank
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best
    _rank(layers)


def _rank(layers: Iterable[list[_Cell]]) -> None:
    for layer in layers:
        for rank, cell in enumerate(layer):
            cell.rank = rank


def _barycentre(cell: _Cell, down: bool) -> float:
    ranks = ([k.upper.rank + k.from_middle / (k.upper.width + 1) for k in cell.above] if down
             else [k.lower.rank + k.to_middle / (k.lower.width + 1) for k in cell.below])
    return sum(ranks) / len(ranks) if ranks else cell.rank


def _crossings(layers: Iterable[list[_Cell]]) -> int:
    """How many pairs of links cross."""
    total = 0
    for layer in layers:
        seen: list[float] = []
        links = [(cell.rank + k.from_middle / (cell.width + 1), k.lower.rank + k.to_middle / (k.lower.width + 1))
                 for cell in layer for k in cell.below]
        for _, lower in sorted(links):
            total += len(seen) - bisect_right(seen, lower)
            insort(seen, lower)
    return total


def _place(layers: list[list[_Cell]]) -> None:
    """Move each cell as near to its neighbours as its layer's order and the space between boxes allow."""
    for layer in layers:
        _settle(layer, [0.0] * len(layer), [1.0] * len(layer))
    for sweep in range(4 * SWEEPS):
        down, both = sweep % 2 == 0, sweep >= SWEEPS
        for layer in layers if down else reversed(layers):
            wanted, weights = [], []
            for cell in layer:
                pulled = pull = 0.0
                for link in cell.above if down or both else ():
                    pull += link.pull
                    pulled += link.pull * (link.upper.x + link.shift)
                for link in cell.below if not down or both else ():
                    pull += link.pull
                    pulled += link.pull * (link.lower.x - link.shift)
                wanted.append(pulled / pull if pull else cell.x)
                weights.append(pull or 0.01)
            _settle(layer, wanted, weights)


def _settle(layer: Sequence[_Cell], wanted: Sequence[float], weights: Sequence[float]) -> None:
    """Least squares under the minimal distances: isotonic regression, by pooling adjacent violators."""
    offsets, offset = [], 0.0
    for i, cell in enumerate(layer):
        if i:
            before = layer[i - 1]
            space = SPACE if before.box is not None or cell.box is not None else 0.0
            offset += (before.width + cell.width) / 2 + space
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, shift in zip(wanted, weights, offsets):
        mean, total, count = want - shift, weight, 1
        while pools and pools[-1][0] > mean:
            other, other_weight, others = pools.pop()
            mean = (mean * total + other * other_weight) / (total + other_weight)
            total, count = total + other_weight, count + others
        pools.append((mean, total, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    for cell, mean, shift in zip(layer, means, offsets):
        cell.x = mean + shift


def _heights(layers: Sequence[Sequence[_Cell]]) -> tuple[list[float], list[float]]:
    """Top and bottom of each layer. Many wires that move sideways get more room."""
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


def _wires(layers: Sequence[Sequence[_Cell]], tops: Sequence[float], bottoms: Sequence[float]) -> list[Wire]:
    starts: dict[_Link, float] = {}
    stops: dict[_Link, float] = {}
    for layer in layers:
        for cell in layer:
            _spread(cell, starts, stops)
    wires = []
    for layer in layers:
        for cell in layer:
            for link in cell.below:
                upper, lower = link.upper, link.lower
                y0 = tops[upper.layer] if upper.box is None else upper.box.y + upper.box.height
                y3 = tops[lower.layer] if lower.box is None else lower.box.y
                arrow = lower.box is not None and link.key not in lower.box.entries
                wires.append(Wire(link.key, starts[link], y0, bottoms[upper.layer], stops[link], tops[lower.layer], y3, arrow))
    return wires


def _spread(cell: _Cell, starts: dict[_Link, float], stops: dict[_Link, float]) -> None:
    """Where links touch a cell: at fixed places, or spread over the side of a box in the order of their other ends."""
    keys = list(dict.fromkeys(k.key for k in cell.below))
    for link in cell.below:
        free = cell.box is not None and link.key not in cell.box.exits and len(keys) > 1
        share = (keys.index(link.key) + 1) / (len(keys) + 1) - 0.5 if free else 0.0
        starts[link] = cell.x + link.from_middle + share * cell.width
    free_links = [k for k in cell.above if cell.box is not None and k.key not in cell.box.entries]
    free_links.sort(key=lambda k: k.upper.x + k.from_middle)
    for link in cell.above:
        stops[link] = cell.x + link.to_middle
    for i, link in enumerate(free_links):
        stops[link] = cell.x + ((i + 1) / (len(free_links) + 1) - 0.5) * cell.width * 0.8
