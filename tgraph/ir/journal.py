"""The changes of a graph, one by one: a graph whose `journal` is a list appends each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .values import Node, Value


@dataclass(frozen=True)
class Added:
    """A new node, and what it read then."""

    node: Node
    operands: tuple[Value | None, ...]


@dataclass(frozen=True)
class Erased:
    """A node that is no longer there."""

    node: Node


@dataclass(frozen=True)
class Rewired:
    """A node that reads `new` where it read `old`."""

    node: Node
    position: int
    old: Value | None
    new: Value | None


@dataclass(frozen=True)
class OutputsSet:
    """All outputs, after a change of one of them."""

    outputs: tuple[tuple[str, Value], ...]


Change = Added | Erased | Rewired | OutputsSet
