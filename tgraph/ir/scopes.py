"""The scope tree of a graph: which nodes and inner scopes each scope holds, in an order in which all signals go forwards.

What occurs several times in a row with equal structure, such as the layers of an encoder, can be found as one `Repeat`
(`fold_repeats`). Everything takes time in proportion to the graph and the depth of its scopes.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .cached import cached_property
from .location import join_scope, scope_names
from .names import attribute
from .values import Callee, Constant, Node, Parameter, Result, Value

if TYPE_CHECKING:
    from .graph import Graph

LONGEST_PERIOD = 16  # items that may repeat as a group, as attention and feed-forward layers in two lists do


@dataclass(eq=False)
class Scope:
    """The nodes of one scope of a graph: those that are directly in it, and inner scopes.

    names: of the scopes around it and its own, outermost first. title: its name below the scope around it, which is several names
    where scopes hold nothing but one other. items: what it holds; each item reads only what stands before it. A scope that a
    path of the graph leaves and enters again occurs as several.
    """

    names: tuple[str, ...]
    title: str
    items: list[Item]
    path: str = ""

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes within, in order; of repeats, those of every copy."""
        return [node for item in self.items for node in nodes_of(item)]

    def scopes(self) -> Iterator[Scope]:
        """All scopes within, outer before inner; of repeats, those of the first copy."""
        for item in self.items:
            for inner in (item.first if isinstance(item, Repeat) else [item]):
                if isinstance(inner, Scope):
                    yield inner
                    yield from inner.scopes()


@dataclass(eq=False)
class Repeat:
    """Items that occur several times in a row: same ops, attributes, types and wiring, but other parameters.

    copies: the items of each time, at least two; the first one stands for all in a folded view. nodes of different copies
    correspond by position (`nodes_of`).
    """

    copies: list[list[Item]]

    @property
    def first(self) -> list[Item]:
        return self.copies[0]

    @property
    def count(self) -> int:
        return len(self.copies)

    @cached_property
    def nodes(self) -> list[Node]:
        """The nodes of all copies, copy after copy."""
        return [node for copy in self.copies for item in copy for node in nodes_of(item)]

    @property
    def title(self) -> str:
        """`0 .. 11`: the titles of the first scope and its last copy."""
        first, last = (next(i for i in copy if isinstance(i, Scope)).title for copy in (self.copies[0], self.copies[-1]))
        return f"{first} .. {last}"


Item = Node | Scope | Repeat


def nodes_of(item: Item) -> list[Node]:
    """The nodes of an item, in order."""
    return [item] if isinstance(item, Node) else item.nodes


def scope_tree(graph: Graph) -> Scope:
    """The scopes of all nodes, from the outermost, which has no name. A node of several is in the one around all of them."""
    nodes = graph.nodes
    return _scope(nodes, {n: scope_names(n.provenance.scope) for n in nodes}, (), 0)


def _scope(nodes: Sequence[Node], names: Mapping[Node, tuple[str, ...]], own: tuple[str, ...], around: int) -> Scope:
    """The scope `own`, of these nodes; the scope around it has so many names."""
    items: list[Item] = []
    depth = len(own)
    for part in _parts(nodes, {n: names[n][depth:depth + 1] or n for n in nodes}):
        if names[part[0]] == own:
            items.append(part[0])
        else:
            items.append(_scope(part, names, _common([names[n] for n in part]), depth))
    origin = nodes[0].provenance.scope if nodes else ""
    return Scope(own, join_scope(own[around:], origin.lstrip("/")), items, join_scope(own, origin))


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The longest common prefix of some paths."""
    low, high = min(paths), max(paths)
    count = next((i for i, (a, b) in enumerate(zip(low, high)) if a != b), min(len(low), len(high)))
    return low[:count]


def _parts(nodes: Sequence[Node], label: Mapping[Node, object]) -> list[list[Node]]:
    """Group nodes by label, in an order where each group depends only on groups before it.

    The nodes of a label are split where a path of the graph leaves them and comes back: they could not be one box in a picture in
    which all signals go down.
    """
    search = _Grouping(nodes, label)
    parts = []
    while search.ready:
        key = search.whole()
        parts.append(search.take(key, search.reachable(key)) if key is not None else search.take(*search.needed_elsewhere()))
    return parts


class _Grouping:
    """The nodes that are not in a group yet, by label; `ready` has those that wait for no other, as heaps of their places."""

    def __init__(self, nodes: Sequence[Node], label: Mapping[Node, object]):
        self.nodes, self.label = nodes, label
        self.place = {n: i for i, n in enumerate(nodes)}
        self.below: dict[Node, list[Node]] = {n: [] for n in nodes}
        self.waits: dict[Node, int] = dict.fromkeys(nodes, 0)
        self.blocked: dict[object, int] = dict.fromkeys(label.values(), 0)  # how many operands are of other labels
        self.ready: dict[object, list[int]] = {}
        for node in nodes:
            for operand in {v.node for v in node.inputs if isinstance(v, Result) and v.node in self.place}:
                self.below[operand].append(node)
                self.waits[node] += 1
                self.blocked[label[node]] += label[operand] != label[node]
        for i, node in enumerate(nodes):
            if not self.waits[node]:
                self.ready.setdefault(label[node], []).append(i)
        order = {key: i for i, key in reversed(list(enumerate(label[n] for n in nodes)))}
        self.order = order  # the place of each label's first node
        self.free = [(order[key], i, key) for i, key in enumerate(self.ready) if not self.blocked[key]]
        heapq.heapify(self.free)

    def whole(self) -> object | None:
        """The first label that waits for no other."""
        while self.free:
            key = heapq.heappop(self.free)[-1]
            if key in self.ready:
                return key
        return None

    def reachable(self, key: object) -> list[Node]:
        """The nodes of a label that can come next, one after the other, without nodes of other labels."""
        found: list[Node] = []
        heap, waits = list(self.ready[key]), dict[Node, int]()
        while heap:
            node = self.nodes[heapq.heappop(heap)]
            found.append(node)
            for user in self.below[node]:
                if self.label[user] == key:
                    waits[user] = waits.get(user, self.waits[user]) - 1
                    if not waits[user]:
                        heapq.heappush(heap, self.place[user])
        return found

    def needed_elsewhere(self) -> tuple[object, list[Node]]:
        """Where every label waits for another: of the first one that this helps, the nodes that others need."""
        for key in sorted(self.ready, key=self.order.__getitem__):
            needed: set[Node] = set()
            found = self.reachable(key)
            for node in reversed(found):
                if any(self.label[user] != key or user in needed for user in self.below[node]):
                    needed.add(node)
            if needed:
                return key, [n for n in found if n in needed]
        raise AssertionError("the nodes of a graph form no cycle")

    def take(self, key: object, part: list[Node]) -> list[Node]:
        """Make nodes of a label the next group."""
        taken = {self.place[n] for n in part}
        rest = [i for i in self.ready.pop(key) if i not in taken]
        for node in part:
            for user in self.below[node]:
                self.waits[user] -= 1
                other = self.label[user]
                if not self.waits[user] and self.place[user] not in taken:
                    if other == key:
                        rest.append(self.place[user])
                    else:
                        heapq.heappush(self.ready.setdefault(other, []), self.place[user])
                if other != key:
                    self.blocked[other] -= 1
                    if not self.blocked[other]:
                        heapq.heappush(self.free, (self.order[other], len(self.order) + self.place[user], other))
        if rest:
            heapq.heapify(rest)
            self.ready[key] = rest
        return part


def fold_repeats(tree: Scope) -> Scope:
    """The tree with items that repeat as a `Repeat` each. Their names are equal but for numbers, their parameters may differ.

    `layer.0` and `layer.1` can repeat, `query` and `key` cannot: a name that is a word says what is different.
    """
    return _folded(tree, _Structures())


def _folded(scope: Scope, structures: _Structures) -> Scope:
    items: list[Item] = []
    at, keys = 0, [structures.of_item(item) for item in scope.items]
    while at < len(scope.items):
        period, count = _repeated(scope.items, keys, at, structures)
        block = scope.items[at:at + period]
        first: list[Item] = [_folded(i, structures) if isinstance(i, Scope) else i for i in block]
        if count == 1:
            items += first
        else:
            rest = (scope.items[at + i * period:at + (i + 1) * period] for i in range(1, count))
            items.append(Repeat([first, *rest]))
        at += period * count
    return Scope(scope.names, scope.title, items, scope.path)


def _repeated(items: Sequence[Item], keys: Sequence[int], at: int, structures: _Structures) -> tuple[int, int]:
    """The number of items of the group that repeats from a place on, and how often it occurs: (1, 1) if none does."""
    for period in range(1, min(LONGEST_PERIOD, (len(items) - at) // 2) + 1):
        group = keys[at:at + period]
        if group != keys[at + period:at + 2 * period] or not any(isinstance(i, Scope) for i in items[at:at + period]):
            continue
        count, own = 1, structures.of_group(items[at:at + period])
        while (start := at + count * period) + period <= len(items) and keys[start:start + period] == group and (
                period == 1 or structures.of_group(items[start:start + period]) == own):
            count += 1
        if count > 1:
            return period, count
    return 1, 1


@dataclass
class _Structures:
    """Numbers for structures: equal ones have equal numbers."""

    numbers: dict[Hashable, int] = field(default_factory=dict)
    of_nodes: dict[Node, int] = field(default_factory=dict)

    def number(self, key: Hashable) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def of_item(self, item: Item) -> int:
        """The structure of a scope, names but for their numbers included; of a node, what it is."""
        if isinstance(item, Node):
            return self.of_node(item)
        assert isinstance(item, Scope)
        return self.number((re.sub(r"\d+", "#", item.title), self.of_group([item])))

    def of_node(self, node: Node) -> int:
        """Op, attributes, and the types of operands and results."""
        if node not in self.of_nodes:
            attributes = tuple((name, id(value) if isinstance(value, Callee) else attribute(value))
                               for name, value in node.attrs.items())
            types = tuple(None if v is None else str(v.type) for v in (*node.operands, *node.results))
            self.of_nodes[node] = self.number((node.op.name, attributes, types))
        return self.of_nodes[node]

    def of_group(self, items: Sequence[Item]) -> int:
        """What the nodes of some items are, and how they are connected; values from outside by the order of first use."""
        place: dict[Node, int] = {}
        outside: dict[Value, int] = {}
        rows = []
        for node in (n for item in items for n in nodes_of(item)):
            operands: list[Hashable] = []
            for value in node.inputs:
                if isinstance(value, Result) and value.node in place:
                    operands.append((place[value.node], value.index))
                elif isinstance(value, Constant):
                    operands.append(value.digest)
                else:
                    operands.append((isinstance(value, Parameter), outside.setdefault(value, len(outside))))
            rows.append((self.of_node(node), *operands))
            place[node] = len(place)
        return self.number(tuple(rows))
