"""Assigning the boxes of a level to layers, and choosing the signals that run beside the layers instead of through them.

A signal that passes a layer takes a place there: a thousand values that are computed at the top and added one after the other
further down would take half a million places. Both functions keep the size of a drawing, and the time to make it, in
proportion to the graph.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .layout import Box, Signal

PLACES = 20_000  # lanes in layers that a level may have, whatever its size, ...
PLACES_A_BOX = 4  # ... and more where it has many boxes


def layers_of(boxes: Sequence[Box], signals: Sequence[Signal]) -> dict[Box, int]:
    """The layer of each box: the length of the longest chain that ends there; a leaf is in the layer above its first reader.

    If signals then pass too many layers, boxes whose readers are all far below move down to the layer above these.
    """
    import networkx

    flow = networkx.DiGraph()
    flow.add_nodes_from(boxes)
    flow.add_edges_from((s.tail, head) for s in signals if s.tail is not None for head in s.heads)
    generations = list(networkx.topological_generations(flow))
    layer = {box: i for i, generation in enumerate(generations) for box in generation}
    readers: dict[Box, list[Box]] = {box: list(flow.successors(box)) for box in boxes}
    _place_leaves(boxes, layer, readers)
    if sum(_lengths(signals, layer).values()) > _room(boxes):
        _sink([b for generation in reversed(generations) for b in generation], signals, layer, readers)
        _place_leaves(boxes, layer, readers)
    return layer


def _place_leaves(boxes: Iterable[Box], layer: dict[Box, int], readers: Mapping[Box, Sequence[Box]]) -> None:
    for box in boxes:
        if box.leaf:
            layer[box] = min((layer[reader] for reader in readers[box]), default=1) - 1


def _sink(boxes: Iterable[Box], signals: Iterable[Signal], layer: dict[Box, int], readers: Mapping[Box, Sequence[Box]]) -> None:
    """Move boxes down, readers before what they read, where this makes the signals that pass layers no longer in sum."""
    arriving: dict[Box, list[Signal]] = {}
    leaving: dict[Box, int] = {}
    for signal in signals:
        for head in signal.heads:
            arriving.setdefault(head, []).append(signal)
        if signal.tail is not None:
            leaving[signal.tail] = leaving.get(signal.tail, 0) + 1
    deepest = {signal.key: sorted((layer[h] for h in signal.heads), reverse=True)[:1] for signal in signals}
    for box in boxes:
        if not readers[box]:
            continue
        lowest = min(layer[reader] for reader in readers[box]) - 1
        longer = sum(deepest[s.key][0] <= layer[box] for s in arriving.get(box, ()))
        if lowest > layer[box] and longer <= leaving.get(box, 0):
            layer[box] = lowest
            for signal in arriving.get(box, ()):
                deepest[signal.key][0] = max(deepest[signal.key][0], lowest)


def around(boxes: Collection[Box], signals: Sequence[Signal], layer: Mapping[Box, int]) -> set[Hashable]:
    """The keys of the signals that run beside the layers: the longest ones, as many as needed for the rest to have room."""
    lengths = _lengths(signals, layer)
    excess = sum(lengths.values()) - _room(boxes)
    if excess <= 0:
        return set()
    movable = [(-lengths[s.key], i, s.key) for i, s in enumerate(signals) if lengths[s.key] > 0]
    heapq.heapify(movable)
    found: set[Hashable] = set()
    while excess > 0 and movable:
        length, _, key = heapq.heappop(movable)
        found.add(key)
        excess += length
    return found


def _lengths(signals: Iterable[Signal], layer: Mapping[Box, int]) -> dict[Hashable, int]:
    """How many layers each signal passes, by its key."""
    last = max(layer.values(), default=0) + 1
    return {s.key: max((last if s.leaves else 0, *(layer[h] for h in s.heads))) - 1 - (-1 if s.tail is None else layer[s.tail])
            for s in signals}


def _room(boxes: Collection[Box]) -> int:
    return PLACES + PLACES_A_BOX * len(boxes)
