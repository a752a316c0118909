"""Parts of a graph by scope or by node, as graphs of their own: `graph.part(scope="encoder.layer.0.attention")`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .dims import DimLike, symbols
from .errors import GraphError
from .printer import numbers_of
from .selection import in_scope, named
from .values import Constant, Input, Node, Parameter, Result, Value

if TYPE_CHECKING:
    from .graph import Graph


def select_part(graph: Graph, scope: str | None = None, node: str | int | None = None) -> list[Node]:
    """The nodes of a scope and of those inside of it, or one node by its number in the text (17, "%17") or an output's name.

    Raises GraphError that lists what there is nearby.
    """
    if (scope is None) == (node is None):
        raise GraphError("a part of a graph is named by a scope or by a node: give one of the two")
    return in_scope(graph, str(scope)) if node is None else [named(graph, str(node))]


def part(graph: Graph, nodes: Iterable[Node]) -> Graph:
    """Some nodes of a graph as a graph: its inputs are what they read, its outputs what is read of them elsewhere.

    Values keep their names: inputs, parameters and outputs those that they have, others `v17` for %17. So the lines of its text
    are those of the whole, but for numbers.
    """
    inside = set(nodes)
    numbers = numbers_of(graph)
    outputs = {value: name for name, value in reversed(graph.outputs)}
    taken = {i.name for i in graph.inputs} | set(outputs.values())
    new = type(graph)(graph.name, graph.weights)
    mapping: dict[Value, Value] = {}

    def name_of(value: Result) -> str:
        name = outputs.get(value) or f"v{numbers[value]}"
        while value not in outputs and name in taken:
            name += "_"
        return name

    ordered = [n for n in graph.nodes if n in inside]
    for value in dict.fromkeys(v for n in ordered for v in n.inputs):
        if isinstance(value, Parameter):
            mapping[value] = new.parameter(value.name, value.type)
        elif isinstance(value, Constant):
            known = value.data is not None
            mapping[value] = new.constant(value.data, value.dtype) if known else new.opaque_constant(value.type, value.digest)
        elif isinstance(value, Input):
            mapping[value] = new.input(value.name, value.type)
        elif isinstance(value, Result) and value.node not in inside:
            mapping[value] = new.input(name_of(value), value.type)
    for node in ordered:
        mapping.update(zip(node.results, new.clone(node, mapping).results))
    left = [r for n in ordered for r in n.results if r in outputs or any(u not in inside for u in r.users)]
    left = left or [r for n in ordered for r in n.results if not r.uses]
    new.set_outputs((name_of(r), mapping[r]) for r in left)
    used = set(new.symbols)
    new.constraints = [pair for pair in graph.constraints if _names(pair) <= used]
    new.inequalities = [pair for pair in graph.inequalities if _names(pair) <= used]
    return new


def _names(pair: tuple[DimLike, DimLike]) -> set[str]:
    return {s.name for size in pair for s in symbols(size)}
