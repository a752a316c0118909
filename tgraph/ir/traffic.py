"""Bytes that a graph run as one kernel reads and writes: what enters and leaves it, and not what lies between its nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .dims import evaluate
from .graph import Graph
from .values import Node, Result, Value


def bytes_by_node(graph: Graph, sizes: Mapping[str, int]) -> dict[Node, int]:
    """The bytes that each node of a graph reads of inputs and parameters, and writes of outputs, at these sizes.

    A leaf is read once, by the first of its readers; a view reads and writes nothing itself, but the node behind or before it
    does. Of a table that is looked up only the chosen rows count, of a leaf that is cut only the cuts, of one that is updated in
    place nothing; what a node writes in place is the part that it replaces.
    """
    found = dict.fromkeys(graph.nodes, 0)
    position = {node: i for i, node in enumerate(found)}
    for leaf in (*graph.inputs, *graph.parameters.values(), *graph.constants.values()):
        if leaf.uses:
            whole = evaluate(leaf.type.size, sizes)
            read = min(whole, sum(_elements(leaf, whole, sizes)))
            found[_reader(leaf, position)] += read * leaf.dtype.numpy.itemsize
    for _, value in graph.outputs:
        if isinstance(value, Result):
            maker = value.node
            while maker.op.traits.view is not None and isinstance(maker.inputs[0], Result):
                maker = maker.inputs[0].node
            found[maker] += _written(maker, value, sizes)
    return found


def _reader(value: Value, position: Mapping[Node, int]) -> Node:
    """The first node that reads a value, looking through views."""
    first = min(value.users, key=position.__getitem__)
    behind = first.op.traits.view is not None and any(r.uses for r in first.results)
    return _reader(first.results[0], position) if behind else first


def _elements(value: Value, whole: int, sizes: Mapping[str, int]) -> Iterator[int]:
    """How many elements of a leaf each reader of a value needs; a value that is the leaf element by element asks its readers."""
    for node, position in value.uses:
        traits = node.op.traits
        if (traits.lookup is not None and traits.lookup.table == position) or traits.view == "cut":
            yield min(whole, sum(evaluate(r.type.size, sizes) for r in node.results))
        elif traits.overwrites == position:
            yield 0
        elif len(node.inputs) == 1 and len(node.results) == 1 and node.results[0].uses and (
                traits.elementwise or traits.view in ("layout", "permute", "regroup")):
            yield from _elements(node.results[0], whole, sizes)
        else:
            yield whole


def _written(node: Node, value: Value, sizes: Mapping[str, int]) -> int:
    update = node.op.traits.update
    replaced = node.operands[update.value] if update is not None and node.op.traits.overwrites is not None else None
    return evaluate((value if replaced is None else replaced).type.nbytes, sizes)
