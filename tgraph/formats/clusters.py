"""A graph as nested boxes: one for each node, leaf and output, within one for each scope. `layout` places them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir import scopes as tree
from ..ir.folding import Fold, Folded, Thing, fold
from ..ir.graph import Graph
from ..ir.scopes import Item, Repeat
from ..ir.values import Constant, Input, Node, Parameter, Result, Value
from .layout import Box, Signal, arrange

PADDING = 14.0
SCREEN = 30  # things in a picture of no given depth
TITLE = 22.0  # height of a scope's title


@dataclass(frozen=True)
class Scope:
    """A box around the nodes of one scope; `title` is its path within the box around it, `count` how many it stands for."""

    path: str
    title: str
    count: int = 1


@dataclass(frozen=True)
class Named:
    """A node that is all of its scope, whose title it has in place of a box around it."""

    node: Node
    title: str
    count: int


@dataclass(frozen=True)
class Closed:
    """A scope as one box that does not show what is in it; `gives` are the values that are read outside."""

    scope: tree.Scope
    title: str
    count: int
    gives: tuple[Value, ...]


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


def nest(graph: Graph, measure: Measure, *, parameters: bool = True, fold_by: Fold = False) -> Box:
    """Make and place the boxes of a graph, or of its folded view. Returns the outermost; positions are relative to the enclosing
    box."""
    builder = _Builder(fold(graph, fold_by, screen=SCREEN), measure, parameters)
    return builder.level(builder.view.root.items, Scope("", ""), "", top=True)


class _Builder:
    def __init__(self, view: Folded, measure: Measure, parameters: bool):
        self.view, self.measure, self.parameters = view, measure, parameters
        self.readers: dict[Value, list[Thing]] = {}
        for thing, values in view.reads.items():
            for value in values:
                self.readers.setdefault(value, []).append(thing)
        self.made: dict[Thing, list[Value]] = {}
        for node, thing in view.shows.items():
            self.made.setdefault(thing, []).extend(node.results)
        self.outputs = {v for _, v in view.outputs}

    def box(self, thing: object, leaf: bool = False) -> Box:
        return Box(*self.measure(thing), shows=thing, leaf=leaf)

    def item(self, item: Item, within: str) -> tuple[Box, list[Thing]]:
        """The box of an item in a scope whose parameters begin with `within`, and the things that are in it."""
        if isinstance(item, Node):
            return self.box(item), [item]
        if isinstance(item, Repeat):
            only = item.first[0]
            if len(item.first) == 1 and isinstance(only, tree.Scope):
                return self.scope(only, item.title, item.count)
            return self.level(item.first, Scope(item.title, item.title, item.count), within), self.things(item.first)
        return self.scope(item, item.title, 1)

    def scope(self, scope: tree.Scope, title: str, count: int) -> tuple[Box, list[Thing]]:
        if scope in self.view.closed:
            return self.box(Closed(scope, title, count, tuple(self.view.gives(scope)))), [scope]
        node = self.view.single(scope)
        if node is not None:
            return self.box(Named(node, title, count)), [node]
        prefix = "".join(f"{name}." for name in scope.names)
        return self.level(scope.items, Scope(scope.path, title, count), prefix), self.things(scope.items)

    def things(self, items: Sequence[Item]) -> list[Thing]:
        """The nodes and closed scopes that are shown for some items, at any depth."""
        found: list[Thing] = []
        for item in items:
            if isinstance(item, Node) or item in self.view.closed:
                found.append(item)  # type: ignore[arg-type]
            else:
                found += self.things(item.first if isinstance(item, Repeat) else item.items)
        return found

    def level(self, items: Sequence[Item], shown: Scope, within: str, top: bool = False) -> Box:
        """The box around some items."""
        boxes: list[Box] = [self.box(i) for i in self.view.graph.inputs] if top else []
        producer: dict[Value, Box] = dict(zip(self.view.graph.inputs, boxes))
        box_of: dict[Thing, Box] = {}
        leaves: dict[Value, list[Box]] = {}
        readers: dict[Value, dict[Box, None]] = {}
        for item in items:
            box, things = self.item(item, within)
            boxes.append(box)
            direct = box.shows.node if isinstance(box.shows, Named) else item
            for thing in things:
                box_of[thing] = box
                producer.update(dict.fromkeys(self.made[thing], box))
                for value in self.view.reads[thing]:
                    if isinstance(value, (Input, Result)):
                        readers.setdefault(value, {})[box] = None
                    elif thing is direct and isinstance(thing, Node) and self._noted(value):
                        leaves.setdefault(value, []).append(box)
        if top:
            for name, value in self.view.outputs:
                boxes.append(self.box(Output(name, value)))
                if isinstance(value, (Input, Result)):
                    readers.setdefault(value, {})[boxes[-1]] = None
                else:
                    leaves.setdefault(value, []).append(boxes[-1])
        signals = []
        for value, reading in leaves.items():
            note = self.box(_note(value, within), leaf=True)
            boxes.append(note)
            signals.append(Signal(value, note, reading))
        for value in dict.fromkeys((*producer, *readers)):
            tail = producer.get(value)
            heads = [b for b in readers.get(value, ()) if b is not tail]
            leaves_level = not top and tail is not None and (
                value in self.outputs or any(thing not in box_of for thing in self.readers.get(value, ())))
            if heads or leaves_level:
                signals.append(Signal(value, tail, heads, leaves_level))
        return self._around(boxes, signals, shown, top)

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


def _note(value: Value, within: str) -> Note:
    assert isinstance(value, (Parameter, Constant))
    if isinstance(value, Constant):
        return Note(value, "")
    names, scope = value.name.split("."), within.split(".")
    shared = next((i for i, (a, b) in enumerate(zip(names, scope)) if a != b), len(scope))
    return Note(value, ".".join(names[min(shared, len(names) - 1):]))
