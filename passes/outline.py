"""Functions: making a set of nodes one, `call $linear_gelu(...)`, and one table of them for several graphs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tgraph.ir.extract import arranged, extract
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.registry import get_op
from tgraph.ir.values import Node, Result

Functions = dict[str, Graph]


def outline(graph: Graph, nodes: Iterable[Node], name: str, functions: Functions) -> Node:
    """Replace a convex set of nodes by one call of a function with their content.

    Equal functions are shared through `functions`, which is added to; a name that stands for another one gets a number.
    The call stands for the scopes and source lines of all its nodes.
    """
    members = arranged(graph, nodes)
    function, arguments, results = extract(graph, members, name)
    function = share(function, functions)
    provenance = Provenance.merge(n.provenance for n in members)
    new = graph.insert(get_op("call"), arguments, {"function": function}, provenance)
    replacements = new if isinstance(new, tuple) else (new,)
    for old, replacement in zip(results, replacements):
        graph.replace(old, replacement)
    for node in reversed(members):
        graph.erase(node)
    first = replacements[0]
    assert isinstance(first, Result)
    return first.node


def share(function: Graph, functions: Functions) -> Graph:
    """The known function of the same content, or this one under a name that is free."""
    base, number = function.name, 1
    while function.name in functions:
        if functions[function.name] == function:
            return functions[function.name]
        number += 1
        function.name = f"{base}_{number}"
    functions[function.name] = function
    return function


def share_functions(graphs: Iterable[Graph]) -> None:
    """Bring the functions that graphs call into one table: equal ones become one, others of a name that is taken get a number."""
    functions: Functions = {}
    shared: dict[int, Graph] = {}  # by the identity of what it stands for
    for graph in graphs:
        for function in graph.functions.values():  # callees first
            if function.name in functions or any(shared[id(f)] is not f for f in function.functions.values()):
                mine = function.copy(re.sub(r"_\d+$", "", function.name))
                _call_shared(mine, shared)
                shared[id(function)] = share(mine, functions)
            else:
                shared[id(function)] = functions[function.name] = function
        _call_shared(graph, shared)


def _call_shared(graph: Graph, shared: Mapping[int, Graph]) -> None:
    """Make the calls of a graph call what their functions are in the table."""
    for node in graph.nodes:
        function = node.attrs.get("function")
        if isinstance(function, Graph) and shared[id(function)] is not function:
            new = graph.insert(node.op, node.operands, {**node.attrs, "function": shared[id(function)]}, node.provenance)
            for old, replacement in zip(node.results, new if isinstance(new, tuple) else (new,)):
                graph.replace(old, replacement)
            graph.erase(node)
