"""The canonical order of a graph's nodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .determined import sizes_of
from .dims import symbols
from .errors import GraphError
from .values import Node, Result

if TYPE_CHECKING:
    from .graph import Graph


def canonical_order(graph: Graph) -> Iterator[Node]:
    """All nodes, operands before users: depth first from the outputs, dead ones last. Raises GraphError for a cycle."""
    done: set[Node] = set()
    open_nodes: set[Node] = set()
    roots = [v.node for _, v in graph.outputs if isinstance(v, Result)]
    for root in (*roots, *graph._nodes):
        stack = [(root, needed_nodes(graph, root))]
        if root in done:
            continue
        open_nodes.add(root)
        while stack:
            node, nodes = stack[-1]
            for above in nodes:
                if above not in done:
                    if above in open_nodes:
                        raise GraphError(f"graph {graph.name} has a cycle through {above.op.name}")
                    open_nodes.add(above)
                    stack.append((above, needed_nodes(graph, above)))
                    break
            else:
                stack.pop()
                open_nodes.discard(node)
                done.add(node)
                yield node


def needed_nodes(graph: Graph, node: Node) -> Iterator[Node]:
    """The nodes that must run before a node: those of its operands, and those that make a data-dependent dim that it mentions."""
    above = (v.node for v in node.inputs if isinstance(v, Result))
    if not graph._dim_makers:
        return above
    asked = {s.name for d in sizes_of(node) for s in symbols(d)} - graph._dim_makers.get(node, set())
    return itertools.chain(above, (n for n, names in graph._dim_makers.items() if names & asked))
