"""Layered graph drawing: the order of cells within each layer by barycentres, their positions by least squares.

Source: Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .layout import Box

LANE = 10.0  # width of a wire that passes a layer
SPACE = 18.0  # between boxes of one layer
SWEEPS = 8
PATIENCE = 100_000  # cells to look at in all sweeps: a level with very many lanes gets fewer sweeps
STRAIGHT = (3.0, 1.0, 10.0)  # the pull of a link between two boxes, a box and a lane, two pieces of a lane


class Cell:
    """A place in a layer: of a box, or of a signal that passes."""

    __slots__ = ("above", "below", "box", "height", "layer", "rank", "width", "x")

    def __init__(self, box: Box | None, layer: int):
        self.box: Box | None = box
        self.layer: int = layer
        self.width: float = LANE if box is None else box.width
        self.height: float = 0.0 if box is None else box.height
        self.x: float = 0.0  # of the middle
        self.rank: int = 0
        self.above: list[Link] = []
        self.below: list[Link] = []


@dataclass(eq=False)
class Link:
    """A piece of a signal between neighbouring layers; offsets are from the middles of the cells."""

    key: Hashable
    upper: Cell
    lower: Cell
    from_middle: float = 0.0
    to_middle: float = 0.0
    pull: float = 0.0  # how much it wants to be straight

    def __post_init__(self) -> None:
        self.pull = STRAIGHT[(self.upper.box is None) + (self.lower.box is None)]

    @property
    def shift(self) -> float:
        """How far to the right of the upper cell's middle the lower cell's should be; 0 between scopes, which form a column."""
        both = self.upper.box is not None and self.lower.box is not None
        if both and self.upper.box.boxes and self.lower.box.boxes:  # type: ignore[union-attr]
            return 0.0
        return self.from_middle - self.to_middle


def order(layers: list[list[Cell]]) -> None:
    """Reorder each layer by the mean position of its cells' neighbours, down and up in turn; keep what crosses least."""
    _rank(layers)
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    for sweep in range(_sweeps(layers)):
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


def _sweeps(layers: Iterable[list[Cell]]) -> int:
    return max(1, min(SWEEPS, PATIENCE // max(1, sum(map(len, layers)))))


def _rank(layers: Iterable[list[Cell]]) -> None:
    for layer in layers:
        for rank, cell in enumerate(layer):
            cell.rank = rank


def _barycentre(cell: Cell, down: bool) -> float:
    ranks = ([k.upper.rank + k.from_middle / (k.upper.width + 1) for k in cell.above] if down
             else [k.lower.rank + k.to_middle / (k.lower.width + 1) for k in cell.below])
    return sum(ranks) / len(ranks) if ranks else cell.rank


def _crossings(layers: Iterable[list[Cell]]) -> int:
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


def place(layers: list[list[Cell]]) -> None:
    """Set the positions of cells: each as near to its neighbours as the order in its layer and the space between boxes allow."""
    for layer in layers:
        _settle(layer, [0.0] * len(layer), [1.0] * len(layer))
    sweeps = _sweeps(layers)
    for sweep in range(4 * sweeps):
        down, both = sweep % 2 == 0, sweep >= sweeps
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


def _settle(layer: Sequence[Cell], wanted: Sequence[float], weights: Sequence[float]) -> None:
    """Positions nearest to the wanted ones by least squares, at minimal distances: isotonic regression by pooling adjacent
    violators."""
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
