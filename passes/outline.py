"""Making a set of nodes a function of its own: `call $linear_gelu(...)`."""

from __future__ import annotations

from collections.abc import Iterable

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
