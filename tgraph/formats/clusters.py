"""A graph as nested boxes: one for each node, leaf and output, within one for each scope. `layout` places them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..ir.graph import Graph
from ..ir.values import Constant, Input, Node, Parameter, Result, Value
from .layout import Box, Signal, arrange

PADDING = 14.0
TITLE = 22.0  # height of a scope's title


@dataclass(frozen=True)
class Scope:
    """A box around the nodes of one scope; `title` is its path within the box around it."""

    path: str
    title: str


@dataclass(frozen=True)
class Output:
    """An output of the graph."""

    name: str
    value: Value


@dataclass(frozen=True)
class Note:
    """A parameter or constant that nodes of one scope read; `name` is the parameter's within that scope."""

    value: Parameter | Constant
    name: str


Measure = Callable[[object], tuple[float, float]]  # width and height of the box that shows a thing


def nest(graph: Graph, measure: Measure, *, parameters: bool = True) -> Box:
    """Make and place the boxes of a graph. Returns the outermost; positions are relative to the enclosing box."""
    builder = _Builder(graph, measure, parameters)
    return builder.level(graph.nodes, ())


class _Builder:
    def __init__(self, graph: Graph, measure: Measure, parameters: bool):
        self.graph, self.measure, self.parameters = graph, measure, parameters
        self.paths = {n: tuple(p for p in n.provenance.scope.split(".") if p) for n in graph.nodes}
        self.read_outside = {v for _, v in graph.outputs}

    def box(self, thing: object, leaf: bool = False) -> Box:
        return Box(*self.measure(thing), shows=thing, leaf=leaf)

    def level(self, nodes: Sequence[Node], prefix: tuple[str, ...], top: bool = True) -> Box:
        """The box of a scope: `nodes` are all nodes within the scope `prefix`."""
        boxes: list[Box] = [self.box(i) for i in self.graph.inputs] if top else []
        producer: dict[Value, Box] = dict(zip(self.graph.inputs, boxes))
        box_of: dict[Node, Box] = {}
        direct: list[tuple[Node, Box]] = []
        for part in _parts(nodes, {n: self.paths[n][len(prefix):len(prefix) + 1] or n for n in nodes}):
            if self.paths[part[0]] == prefix:
                box = self.box(part[0])
                direct.append((part[0], box))
            else:
                box = self.level(part, _common([self.paths[n] for n in part]), top=False)
                assert isinstance(box.shows, Scope)
                box.shows = Scope(box.shows.path, ".".join(box.shows.path.split(".")[len(prefix):]))
            boxes.append(box)
            box_of.update(dict.fromkeys(part, box))
            producer.update((r, box) for n in part for r in n.results)
        readers = self._readers(nodes, box_of)
        leaves: dict[Value, list[Box]] = {}
        for node, box in direct:
            for value in dict.fromkeys(node.inputs):
                if self._noted(value):
                    leaves.setdefault(value, []).append(box)
        if top:
            for name, value in self.graph.outputs:
                boxes.append(self.box(Output(name, value)))
                if isinstance(value, (Input, Result)):
                    readers.setdefault(value, []).append(boxes[-1])
                else:
                    leaves.setdefault(value, []).append(boxes[-1])
        signals = []
        for value, reading in leaves.items():
            note = self.box(_note(value, ".".join(prefix)), leaf=True)
            boxes.append(note)
            signals.append(Signal(value, note, reading))
        inside = set(nodes)
        for value in dict.fromkeys((*producer, *readers)):
            tail = producer.get(value)
            heads = [b for b in readers.get(value, ()) if b is not tail]
            leaves_level = not top and tail is not None and (
                value in self.read_outside or any(u not in inside for u in value.users))
            if heads or leaves_level:
                signals.append(Signal(value, tail, heads, leaves_level))
        return self._around(boxes, signals, Scope(".".join(prefix), ".".join(prefix)), top)

    def _readers(self, nodes: Iterable[Node], box_of: dict[Node, Box]) -> dict[Value, list[Box]]:
        found: dict[Value, dict[Box, None]] = {}
        for node in nodes:
            for value in node.inputs:
                if isinstance(value, (Input, Result)):
                    found.setdefault(value, {})[box_of[node]] = None
        return {value: list(boxes) for value, boxes in found.items()}

    def _noted(self, value: Value) -> bool:
        """Whether a value is drawn as a note in each scope that reads it: a parameter or a constant that is not a scalar."""
        large = isinstance(value, Constant) and value.type.rank > 0
        return self.parameters and (large or isinstance(value, Parameter))

    def _around(self, boxes: list[Box], signals: list[Signal], scope: Scope, top: bool) -> Box:
        level = arrange(boxes, signals)
        upper = PADDING if top else TITLE + PADDING / 2
        title_width = 0.0 if top else self.measure(scope)[0]
        width = max(level.width, title_width)
        left = PADDING + (width - level.width) / 2
        for box in boxes:
            box.x, box.y = box.x + left, box.y + upper
        for wire in level.wires:
            wire.x0, wire.x1 = wire.x0 + left, wire.x1 + left
            wire.y0, wire.y1, wire.y2, wire.y3 = (y + upper for y in (wire.y0, wire.y1, wire.y2, wire.y3))
        result = Box(width + 2 * PADDING, level.height + upper + PADDING, scope, boxes=boxes, wires=level.wires)
        result.entries = {k: x + left for k, x in level.entries.items()}
        result.exits = {k: x + left for k, x in level.exits.items()}
        for wire in level.wires:  # through the margin, up to the border
            if wire.key in level.entries and wire.y0 == upper:
                wire.y0 = 0.0
            if wire.key in level.exits and wire.y3 == level.height + upper:
                wire.y3 = result.height
        return result


def _note(value: Value, scope: str) -> Note:
    assert isinstance(value, (Parameter, Constant))
    name = value.name if isinstance(value, Parameter) else ""
    return Note(value, name.removeprefix(f"{scope}.") if scope else name)


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The longest common prefix of some paths."""
    count = 0
    while all(len(p) > count for p in paths) and len({p[count] for p in paths}) == 1:
        count += 1
    return paths[0][:count]


def _parts(nodes: Sequence[Node], label: dict[Node, object]) -> list[list[Node]]:
    """Group nodes by label, in an order where each group depends only on groups before it.

    The nodes of a label are split where a path of the graph leaves them and comes back: they could not be one box in a picture in
    which all signals go down.
    """
    below: dict[Node, list[Node]] = {n: [] for n in nodes}
    waits: dict[Node, int] = dict.fromkeys(nodes, 0)
    members: dict[object, list[Node]] = {}
    blocked: dict[object, int] = {}
    for node in nodes:
        members.setdefault(label[node], []).append(node)
        blocked.setdefault(label[node], 0)
        for operand in {v.node for v in node.inputs if isinstance(v, Result) and v.node in below}:
            below[operand].append(node)
            waits[node] += 1
            blocked[label[node]] += label[operand] != label[node]
    place = {key: i for i, key in enumerate(members)}
    whole = [(place[key], key) for key in members if not blocked[key]]  # a heap, in the order of the labels
    parts = []
    while members:
        while whole and (whole[0][1] not in members or blocked[whole[0][1]]):
            heapq.heappop(whole)
        # Where every label waits for another, one goes as far as it can.
        key = whole[0][1] if whole else next(label[n] for n in nodes if n in waits and not waits[n])
        part: list[Node] = []
        for node in members[key]:
            if not waits[node]:
                part.append(node)
                del waits[node]
                for user in below[node]:
                    waits[user] -= 1
                    if label[user] != key:
                        blocked[label[user]] -= 1
                        if not blocked[label[user]]:
                            heapq.heappush(whole, (place[label[user]], label[user]))
        placed = set(part)
        members[key] = [n for n in members[key] if n not in placed]
        if not members[key]:
            del members[key]
        parts.append(part)
    return parts
