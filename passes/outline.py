"""Outlining: a set of nodes becomes a function, `call $linear_gelu(...)`. Also one table of functions for several graphs."""

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
    """Replace a convex set of nodes by a call of a function that has their content, and return the call.

    Equal functions are shared through `functions`, to which new ones are added; if `name` is taken by another function, a
    number is appended. The call has the scopes and source lines of all its nodes.
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
    """The function in `functions` with the same content; if there is none, this one, added under a free name."""
    base, number = function.name, 1
    while function.name in functions:
        if functions[function.name] == function:
            return functions[function.name]
        number += 1
        function.name = f"{base}_{number}"
    functions[function.name] = function
    return function


def share_functions(graphs: Iterable[Graph]) -> None:
    """Let several graphs share one table of functions: equal ones become one, and a name that is taken gets a number."""
    functions: Functions = {}
    shared: dict[int, Graph] = {}  # the function to call, by the id of the one that it replaces
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
    """Make the calls of a graph call the shared functions."""
    for node in graph.nodes:
        function = node.attrs.get("function")
        if isinstance(function, Graph) and shared[id(function)] is not function:
            new = graph.insert(node.op, node.operands, {**node.attrs, "function": shared[id(function)]}, node.provenance)
            for old, replacement in zip(node.results, new if isinstance(new, tuple) else (new,)):
                graph.replace(old, replacement)
            graph.erase(node)
