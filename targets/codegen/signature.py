"""A kernel's parameters besides its tensors: symbolic sizes, and a status word if it looks something up. Needs no TVM."""

from __future__ import annotations

from collections.abc import Iterator

from tgraph.ir.dims import Dim, DimLike, bounds, symbols
from tgraph.ir.graph import Graph
from tgraph.ir.traits import Lookup
from tgraph.ir.values import Node, Result


def function_symbols(function: Graph) -> list[str]:
    """The names of the dims that a function depends on, sorted."""
    return sorted({s.name for d in _dims(function) for s in symbols(d)})


def _dims(function: Graph) -> Iterator[Dim]:
    for value in (*function.inputs, *(r for n in function.nodes for r in n.results)):
        yield from (d for d in value.shape if isinstance(d, Dim))
    for node in function.nodes:
        for attribute in node.attrs.values():
            for item in attribute if isinstance(attribute, tuple) else (attribute,):
                if isinstance(item, Dim):
                    yield item


def lookups(function: Graph) -> list[Node]:
    """The nodes that read or write at an index which may be out of range, or by offsets that may be wrong."""
    def checked(node: Node) -> bool:
        traits = node.op.traits
        outside = traits.lookup is not None and not _surely_inside(node, traits.lookup)
        return outside or traits.segments is not None or traits.update is not None

    return [n for n in function.nodes if checked(n)]


def table_size(node: Node, lookup: Lookup) -> DimLike:
    """The size of the axis along which a node reads its table."""
    axis = 0 if lookup.axis is None else node.attrs[lookup.axis]
    return node.inputs[lookup.table].shape[axis]


def _surely_inside(node: Node, lookup: Lookup) -> bool:
    """Whether the indices are a range that provably ends within the table."""
    indices = node.inputs[lookup.indices]
    if not isinstance(indices, Result) or indices.node.op.name != "range" or indices.node.attrs["start"] != 0:
        return False
    room = bounds(table_size(node, lookup) - indices.node.attrs["stop"])[0]
    return room is not None and room >= 0
