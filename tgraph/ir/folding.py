"""The folded view of a graph, which its text, pictures and pages share: repeats shown once, scopes below a depth closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import GraphError
from .scopes import Item, Repeat, Scope, fold_repeats, nodes_of, scope_tree
from .values import Input, Node, Result, Value

if TYPE_CHECKING:
    from .graph import Graph

SCREEN = 50  # items that a view of no given depth shows at most, if closing scopes can do it

Fold = bool | int  # True: as deep as fits a screen; a number: so many levels of scopes are open; False: no folding
Thing = Node | Scope  # what a view shows as one: a node, or a closed scope


@dataclass(eq=False)
class Folded:
    """What a folded view shows of a graph.

    root: the scope tree with its repeats. closed: scopes that are shown as one thing. shows: the node or closed scope that a
    node is seen in, for the nodes of first copies. reads: the values that each thing reads, which are inputs, parameters,
    constants, and results of nodes of first copies. outputs: the graph's outputs, as such values.
    """

    graph: Graph
    root: Scope
    closed: set[Scope] = field(default_factory=set)
    shows: dict[Node, Thing] = field(default_factory=dict)
    reads: dict[Thing, list[Value]] = field(default_factory=dict)
    outputs: list[tuple[str, Value]] = field(default_factory=list)
    stands_for: dict[Node, Node] = field(default_factory=dict)  # for a node of another copy, that of the first one
    folded: bool = True

    def shown(self, value: Value) -> Value:
        """The value of the first copy that stands for a value."""
        while isinstance(value, Result) and value.node in self.stands_for:
            value = self.stands_for[value.node].results[value.index]
        return value

    def single(self, item: object) -> Node | None:
        """The node of a scope that is but the name of one node: folded views show it without a box around it."""
        if self.folded and isinstance(item, Scope) and is_single(item):
            node = item.items[0]
            return node if isinstance(node, Node) else None
        return None

    def gives(self, scope: Scope) -> list[Result]:
        """The results of a scope that something outside of it reads, or that are outputs."""
        inside, outputs = set(scope.nodes), {v for _, v in self.outputs}
        made = [r for n in scope.nodes if n in self.shows for r in n.results]
        return [r for r in made if r in outputs or any(u not in inside for u in r.users)]


def fold(graph: Graph, fold: Fold = True, *, screen: int = SCREEN) -> Folded:
    """The folded view of a graph; with fold=False, the whole graph as such a view. `screen`: how many things fit one.

    Raises GraphError for a depth that is negative.
    """
    tree = scope_tree(graph)
    if fold is False:
        view = _view(graph, tree, set())
        view.folded = False
        return view
    if fold < 0:
        raise GraphError(f"fold={fold}: expected True, or how many levels of scopes to open, from 0 on")
    tree = fold_repeats(tree)
    depth = _fitting_depth(tree, screen) if fold is True else fold
    return _view(graph, tree, {scope for level, scope in _levels(tree) if level > depth and not is_single(scope)})


def is_single(scope: Scope) -> bool:
    """Whether a scope is but the name of one node."""
    return len(scope.items) == 1 and isinstance(scope.items[0], Node)


def _levels(scope: Scope, level: int = 0) -> Iterator[tuple[int, Scope]]:
    """All scopes within, each with its level."""
    for item in scope.items:
        for inner in (item.first if isinstance(item, Repeat) else [item]):
            if isinstance(inner, Scope):
                yield level + 1, inner
                yield from _levels(inner, level + 1)


def _fitting_depth(tree: Scope, screen: int) -> int:
    """The greatest depth at which no more than a screen is shown."""
    sizes = [len(tree.items)]
    for level, scope in _levels(tree):
        sizes += [0] * (level + 1 - len(sizes))
        sizes[level] += 0 if is_single(scope) else len(scope.items)
    shown = depth = 0
    for level, size in enumerate(sizes):
        shown += size
        if shown > screen:
            break
        depth = level
    return depth


def _view(graph: Graph, tree: Scope, closed: set[Scope]) -> Folded:
    stands, copies = _stand_ins(tree)
    view = Folded(graph, tree, closed, stands_for=stands)
    _show(tree, None, view)
    found: dict[Thing, dict[Value, None]] = {}
    for node in graph.nodes:
        stand_in = node
        while stand_in in stands:
            stand_in = stands[stand_in]
        reads = found.setdefault(view.shows[stand_in], {})
        for value in node.inputs:
            if isinstance(value, Result):
                if _same_copy(copies.get(value.node), copies.get(node)):
                    reads[view.shown(value)] = None
            elif stand_in is node or isinstance(value, Input):
                reads[value] = None
    view.reads = {thing: [v for v in values if not (isinstance(v, Result) and view.shows[v.node] is thing)]
                  for thing, values in found.items()}
    view.outputs = [(name, view.shown(value)) for name, value in graph.outputs]
    return view


def _show(scope: Scope, inside: Scope | None, view: Folded) -> None:
    """Note in which thing each node of first copies is seen; `inside` is the closed scope around them."""
    for item in scope.items:
        for one in (item.first if isinstance(item, Repeat) else [item]):
            if isinstance(one, Node):
                view.shows[one] = inside or one
            elif isinstance(one, Scope):
                _show(one, inside or (one if one in view.closed else None), view)


Copies = dict[int, int]  # of each repeat (its id) that a node is in, the copy


def _stand_ins(tree: Scope) -> tuple[dict[Node, Node], dict[Node, Copies]]:
    """The node of the first copy for each node of another one, and the copies that nodes are in."""
    stands: dict[Node, Node] = {}
    copies: dict[Node, Copies] = {}

    def walk(items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Repeat):
                walk(item.first)
                first = [n for one in item.first for n in nodes_of(one)]
                for number, copy in enumerate(item.copies):
                    for node, stand_in in zip((n for one in copy for n in nodes_of(one)), first):
                        if number:
                            stands[node] = stand_in
                        copies[node] = {**copies.get(stand_in, {}), id(item): number}
            elif isinstance(item, Scope):
                walk(item.items)

    walk(tree.items)
    return stands, copies


def _same_copy(first: Copies | None, second: Copies | None) -> bool:
    """Whether two nodes are in the same copy of all repeats that both are in."""
    return not first or not second or all(second.get(repeat, number) == number for repeat, number in first.items())
