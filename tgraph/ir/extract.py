"""Extraction of a set of nodes as a graph of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .analysis import is_convex, order_within
from .dims import symbols
from .errors import GraphError
from .graph import Graph
from .inequalities import Inequality
from .names import attribute
from .rules import collect_constraints
from .values import Constant, Node, Result, Value


def extract(graph: Graph, nodes: Iterable[Node], name: str) -> tuple[Graph, list[Value], list[Value]]:
    """Copy a convex set of nodes into a new graph. Returns it, the values to feed to its inputs, and the values that it computes.

    Inputs `x0, x1, ...` stand for the values from outside, in the order of first use; constants of rank 0 are copied. Outputs
    `y0, y1, ...` are the results that are read outside or, if none is, all results that nothing reads. Names and order depend
    on the set alone, so that equal sets give equal graphs; only outputs that equal nodes compute from different outside
    values follow the order of `graph`. Symbolic dims keep their names.

    Raises GraphError if the set is empty, not convex, or not of this graph.
    """
    inside = set(nodes)
    if not inside or any(n not in graph for n in inside):
        raise GraphError(f"cannot extract {name!r}: it needs nodes of graph {graph.name}")
    if not is_convex(graph, inside):
        ops = ", ".join(n.op.name for n in graph.nodes if n in inside)
        raise GraphError(f"cannot extract {name!r} ({ops}): a path leaves these nodes and comes back")
    members, results = _arrange(graph, inside)
    new = Graph(name, graph.weights)
    arguments: list[Value] = []
    mapping: dict[Value, Value] = {}
    for node in members:
        for value in node.inputs:
            if value in mapping:
                continue
            if isinstance(value, Constant) and value.type.rank == 0 and value.data is not None:
                mapping[value] = new.constant(value.data, value.dtype)
            else:
                mapping[value] = new.input(f"x{len(arguments)}", value.type)
                arguments.append(value)
        mapping.update(zip(node.results, new.clone(node, mapping).results))
    new.set_outputs((f"y{i}", mapping[v]) for i, v in enumerate(results))
    known = set(new.symbols)
    new.constraints = [(a, b) for a, b in graph.constraints if {s.name for d in (a, b) for s in symbols(d)} <= known]
    if graph.inequalities:
        new.inequalities = _needed_order(graph, members)
    return new, arguments, list(results)


def _needed_order(graph: Graph, members: Iterable[Node]) -> list[Inequality]:
    """The inequalities of a graph that type rules of some nodes rely on, so that equal sets of nodes have equal ones."""
    asked: set[str] = set()
    for node in members:
        with collect_constraints(graph.constraints) as constraints:
            node.op.infer(*[None if v is None else v.type for v in node.operands], **node.attrs)
        asked |= {s.name for pair in constraints.added_order for d in pair for s in symbols(d)}
    return [(a, b) for a, b in graph.inequalities if (names := {s.name for d in (a, b) for s in symbols(d)}) and names <= asked]


def arranged(graph: Graph, nodes: Iterable[Node]) -> list[Node]:
    """The nodes of a set in the order in which `extract` takes them: operands first, whatever is around the set."""
    return _arrange(graph, set(nodes))[0]


def _arrange(graph: Graph, inside: set[Node]) -> tuple[list[Node], list[Result]]:
    """The nodes of a set, and its results that are read outside, both in an order that depends on the set alone.

    Results go by a digest of what computes them. Nodes come operands first, as the results in this order need them, then those
    that none needs. Only between equal digests the order of the graph decides.
    """
    digests = _digests(inside)
    results = _results_of(graph, inside)
    needed = set(order_within(inside, [r.node for r in results]))
    dead = [n for n in inside if n not in needed]
    ends = {*(r.node for r in results), *dead}
    ambiguous = len({digests[n] for n in ends}) < len(ends)
    position = {n: i for i, n in enumerate(graph.nodes)} if ambiguous else {}

    def rank(node: Node) -> tuple[str, int]:
        return digests[node], position.get(node, 0)

    results.sort(key=lambda r: (rank(r.node), r.index))
    dead.sort(key=rank)
    return order_within(inside, [*(r.node for r in results), *dead]), results


def _results_of(graph: Graph, inside: set[Node]) -> list[Result]:
    """The results of a set that are outputs or read outside of it; those that nothing reads if there are no such."""
    outputs = {id(v) for _, v in graph.outputs}
    produced = [r for n in inside for r in n.results]
    read = [r for r in produced if id(r) in outputs or any(u not in inside for u in r.users)]
    return read or [r for r in produced if not r.uses]


def _digests(inside: set[Node]) -> dict[Node, str]:
    """A digest of what each node of a set computes from values outside of it, whatever those are."""
    digests: dict[Node, str] = {}
    for node in order_within(inside, inside):
        operands = []
        for value in node.operands:
            if isinstance(value, Result) and value.node in inside:
                operands.append(f"{digests[value.node]}.{value.index}")
            elif isinstance(value, Constant) and value.type.rank == 0:
                operands.append(f"{value.type} {value.digest}")
            else:
                operands.append("none" if value is None else str(value.type))
        attributes = ", ".join(f"{name}={attribute(value)}" for name, value in node.attrs.items())
        digests[node] = hashlib.sha256(f"{node.op.name}({', '.join(operands)}) {attributes}".encode()).hexdigest()
    return digests
