"""Selection of nodes by a word: a value, a scope, a source line, an op or an output."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import GraphError
from .location import join_scope, scope_names
from .printer import numbers_of
from .values import Node, Result

if TYPE_CHECKING:
    from .graph import Graph

NEAR = 8  # names that an error lists
_LINE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+)")


def select(graph: Graph, pattern: str) -> list[Node]:
    """The nodes of a graph that a pattern names, in order.

        %12                    the value of that number in the text form
        encoder.layer.0        all nodes within that scope (of an imported ONNX model: /encoder/layer.0, or a node's name)
        model.py:31            all nodes that come from that line
        softmax                all nodes of that op
        encoder.*.softmax      those of an op in a scope
        hidden                 the node of the output of that name
        *                      all nodes

    In scopes and ops, * and ? are wildcards. Several patterns stand with commas between them. Raises GraphError for one that
    names no node, with names that are near.
    """
    parts = [p for p in map(str.strip, pattern.split(",")) if p]
    if not parts:
        raise GraphError(f"{pattern!r} names no node of graph {graph.name}")
    found = {node for part in parts for node in _matching(graph, part)}
    return [n for n in graph.nodes if n in found]


def in_scope(graph: Graph, scope: str) -> list[Node]:
    """The nodes of a scope and of those inside of it; a node that passes made of several is in the scopes of all of them.

    Raises GraphError that lists the scopes nearby.
    """
    found = [n for n in graph.nodes if _within(n, scope)]
    if not found:
        raise GraphError(no_scope([graph], scope))
    return found


def named(graph: Graph, name: str) -> Node:
    """One node by its number in the text (17, %17) or the name of an output. Raises GraphError that says what there is."""
    numbers = numbers_of(graph)
    for output, value in graph.outputs:
        if output == name and isinstance(value, Result):
            return value.node
    bare = name.removeprefix("%")
    for result, number in numbers.items():
        if bare == str(number):
            return result.node
    last = max(numbers.values(), default=None)
    outputs = ", ".join(output for output, _ in graph.outputs)
    there = f"its values are %0 to %{last}" if last is not None else "it has no nodes"
    raise GraphError(f"graph {graph.name} has no node {name!r}; {there}, its outputs {outputs or 'none'}")


def no_scope(graphs: Iterable[Graph], scope: str) -> str:
    """What is wrong with a scope that no node is in: the names that come near it, inside of what there is of its path."""
    graphs = list(graphs)
    near = _near_scopes(graphs, scope)
    listed = ", ".join(near[:NEAR]) + (", ..." if len(near) > NEAR else "")
    where = ", ".join(graph.name for graph in graphs)
    return f"no node of {where} is in the scope {scope!r}; " + (f"there are {listed}" if near else "its nodes have no scopes")


def _matching(graph: Graph, part: str) -> list[Node]:
    """The nodes that one pattern names. Raises GraphError if there is none."""
    if part == "*":
        return graph.nodes
    if part.startswith("%"):
        return [named(graph, part)]
    found = (_at_line(graph, part) or [n for n in graph.nodes if _within(n, part)]
             or [n for n in graph.nodes if fnmatch.fnmatchcase(n.op.name, part)]
             or [n for n in graph.nodes if any(fnmatch.fnmatchcase(f"{s}.{n.op.name}", part) for s in n.provenance.scopes)]
             or [v.node for name, v in graph.outputs if name == part and isinstance(v, Result)])
    if not found:
        lines = {f"{loc.name}:{loc.line}": None for n in graph.nodes for loc in n.provenance.locations}
        known = [*lines, *dict.fromkeys(n.op.name for n in graph.nodes), *(name for name, _ in graph.outputs)]
        near = [*difflib.get_close_matches(part, known, NEAR), *_near_scopes([graph], part)]
        raise GraphError(f"no node of graph {graph.name} is {part!r}: no value, scope, source line, op or output is called that"
                         + (f"; near are {', '.join(near[:NEAR])}" if near else ""))
    return found


def _at_line(graph: Graph, part: str) -> list[Node]:
    match = _LINE.fullmatch(part)
    return [n for n in graph.nodes if any(loc.line == int(match["line"]) and match["file"] in (loc.name, loc.file)
                                          for loc in n.provenance.locations)] if match else []


def _within(node: Node, scope: str) -> bool:
    """Whether one of the scopes of a node is `scope` or inside of it; * and ? stand for any part of the path."""
    wanted = scope.strip("/")
    return any(fnmatch.fnmatchcase(path.strip("/"), wanted) for given in node.provenance.scopes for path in _enclosing(given))


def _enclosing(path: str) -> list[str]:
    """A scope after those around it: a, a.b, a.b.c."""
    names = scope_names(path)
    return [join_scope(names[:count], path) for count in range(1, len(names) + 1)]


def _near_scopes(graphs: Iterable[Graph], scope: str) -> list[str]:
    """Scopes that are written nearly as this one, then those inside of what there is of its path."""
    scopes = dict.fromkeys(s for graph in graphs for n in graph.nodes for s in n.provenance.scopes)
    known = {scope_names(path): path for given in scopes for path in _enclosing(given)}
    wanted = scope_names(scope)
    inside = next((wanted[:count] for count in range(len(wanted), 0, -1) if wanted[:count] in known), ())
    siblings = [text for names, text in known.items() if names[:len(inside)] == inside and len(names) == len(inside) + 1]
    return list(dict.fromkeys([*difflib.get_close_matches(scope, known.values(), NEAR, 0.7), *siblings]))
