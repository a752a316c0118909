"""Nodes of two graphs that stand for the same value: by scope, op and structure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .difference import match
from .graph import Graph
from .values import Node


def correspondence(a: Graph, b: Graph) -> dict[Node, Node]:
    """Nodes of `a` with those of `b` that have the same op and types, and come from the same scopes where both know theirs.

    First those that the difference of the graphs matches; then, of what is left, nodes of one scope, op and type by their order,
    if both graphs have as many of them. Each is matched at most once; that their values are the same does not follow.
    """
    found = {x: y for x, y in match(a, b).items() if _types(x) == _types(y) and _related(x, y)}
    taken = set(found.values())
    left, right = (_by_place(n for n in g.nodes if n not in used) for g, used in ((a, found), (b, taken)))
    for place, nodes in left.items():
        others = right.get(place, [])
        if len(nodes) == len(others):
            found.update(zip(nodes, others))
    return {node: found[node] for node in a.nodes if node in found}


def successors(node: Node, b: Graph) -> list[Node]:
    """The nodes of a graph that came of a node of another, from which passes made it: those with its scope and its line."""
    origin = node.provenance
    scopes, lines = set(origin.scopes), set(origin.locations)
    return [n for n in b.nodes if scopes & set(n.provenance.scopes) and lines & set(n.provenance.locations)]


def _types(node: Node) -> list[str]:
    return [str(r.type) for r in node.results]


def _related(x: Node, y: Node) -> bool:
    ours, theirs = set(x.provenance.scopes), set(y.provenance.scopes)
    return not ours or not theirs or bool(ours & theirs)


def _by_place(nodes: Iterable[Node]) -> Mapping[tuple[str, ...], list[Node]]:
    found: dict[tuple[str, ...], list[Node]] = {}
    for node in nodes:
        if node.provenance.scope:
            found.setdefault((node.provenance.scope, node.op.name, *_types(node)), []).append(node)
    return found
