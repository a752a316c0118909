"""A folded view in reading order, for formats that other programs lay out: where scopes begin and end, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..ir.folding import Folded, Thing
from ..ir.scopes import Item, Scope
from ..ir.values import Node, Result, Value
from .labels import closed_label, node_label, times


@dataclass(frozen=True)
class Opens:
    """A scope begins; `title` says how often it repeats."""

    title: str
    path: str


@dataclass(frozen=True)
class Closes:
    """The scope that began last ends."""


@dataclass(frozen=True)
class Shown:
    """A node or a closed scope, with its label of several lines."""

    thing: Thing
    label: str


def outline(view: Folded) -> Iterator[Opens | Closes | Shown]:
    """What a view shows, in order."""
    return _walk(view.root.items, view)


def _walk(items: Sequence[Item], view: Folded) -> Iterator[Opens | Closes | Shown]:
    for item in items:
        if isinstance(item, Node):
            yield Shown(item, node_label(item))
        elif isinstance(item, Scope):
            yield from _scope(item, item.title, view)
        elif len(item.first) == 1 and isinstance(only := item.first[0], Scope):
            yield from _scope(only, times(item.title, item.count), view)
        else:
            yield Opens(times(item.title, item.count), item.title)
            yield from _walk(item.first, view)
            yield Closes()


def _scope(scope: Scope, title: str, view: Folded) -> Iterator[Opens | Closes | Shown]:
    if scope in view.closed:
        yield Shown(scope, closed_label(scope, title, view.gives(scope)))
    elif (node := view.single(scope)) is not None:
        yield Shown(node, f"{node_label(node)}\nin {title}")
    else:
        yield Opens(title, scope.path)
        yield from _walk(scope.items, view)
        yield Closes()


def edges(view: Folded) -> Iterator[tuple[Value | Thing, Value, Thing | str]]:
    """(source, value, reader): what a value comes from (itself if no node makes it); the thing, or output, that reads it."""
    for thing, values in view.reads.items():
        operands = [v for v in map(view.shown, thing.inputs) if v in values] if isinstance(thing, Node) else []
        for value in (*operands, *(v for v in values if v not in operands)):
            yield _source(value, view), value, thing
    for name, value in view.outputs:
        yield _source(value, view), value, name


def _source(value: Value, view: Folded) -> Value | Thing:
    return view.shows[value.node] if isinstance(value, Result) else value


def edge_label(value: Value) -> str:
    """The type of a value that nodes compute; inputs, parameters and constants say their own."""
    return str(value.type) if isinstance(value, Result) else ""


