"""Finding sizes that no call could know.

A call knows a dim that is an axis of an input, the only unknown in an axis of an input (2*N, N+1, B*N where B is known), or
data-dependent: made by a node as it runs. A function takes the sizes that are left from its caller, so `verify` checks none
of this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .dims import Dim, DimLike, as_symbol, linear_in, symbols
from .location import NOWHERE, Provenance
from .types import TensorType
from .values import Callee, Node

if TYPE_CHECKING:
    from .graph import Graph


@dataclass(frozen=True)
class Undetermined:
    """A size that no call can know, and the place that needs it."""

    message: str
    provenance: Provenance = NOWHERE

    def __str__(self) -> str:
        where = self.provenance.describe()
        return self.message + (f"\n  {where}" if where else "")


def sizes_of_shapes(types: Iterable[TensorType]) -> set[str]:
    """The dims whose sizes follow from arrays of these types."""
    sizes = [d for t in types for d in t.shape if isinstance(d, Dim)]
    known = {s.name for d in sizes if (s := as_symbol(d)) is not None}
    pending = [d for d in sizes if as_symbol(d) is None]
    while True:
        found = {name for d in pending if (name := _only_unknown(d, known)) is not None}
        if not found:
            return known
        known |= found


def _only_unknown(size: DimLike, known: Collection[str]) -> str | None:
    """The only unknown dim of an axis, if its size can be solved for; else None."""
    unknown = {s.name for s in symbols(size) if s.name not in known}
    name = unknown.pop() if len(unknown) == 1 else None
    return name if name is not None and linear_in(size, name) is not None else None


def undetermined(graph: Graph) -> Undetermined | None:
    """The first size that no call can know, or None if all are known."""
    known = sizes_of_shapes(i.type for i in graph.inputs)
    for input in graph.inputs:
        for axis, size in enumerate(input.shape):
            missing = _missing([size], known)
            if missing:
                names, first = " and ".join(missing), missing[0]
                more = "more than one unknown" if len(missing) > 1 else f"no single {first}"
                return Undetermined(f"axis {axis} of input {input.name!r} ({input.type}) is {size}: from its length follows "
                                    f"{more}; give {names} on an axis of its own, or as the only unknown of a sum such as "
                                    f"2*{first}+1")
    for node in graph.nodes:
        made = dims_made_by(node)
        missing = _missing(sizes_of(node), known | made)
        if missing:
            return Undetermined(f"the size of {' and '.join(missing)} in {node.op.name} is on no input, so no call can know it",
                                node.provenance)
        known |= made
    return None


def _missing(sizes: Iterable[DimLike], known: Collection[str]) -> list[str]:
    return list(dict.fromkeys(s.name for d in sizes for s in symbols(d) if s.name not in known))


def sizes_of(node: Node) -> list[Dim]:
    """The sizes that a node mentions: in its attributes, in its results, and in a function that it calls, if it takes them from
    here."""
    function = node.attrs.get("function")
    within = function.outer_dims if isinstance(function, Callee) else []
    return [*_attribute_sizes(node), *(d for r in node.results for d in r.shape if isinstance(d, Dim)), *within]


def outer_dims(types: Iterable[TensorType], nodes: Collection[Node]) -> list[Dim]:
    """The dims that nodes mention but do not make, and that arrays of these types do not give."""
    asked = {s.name: s for node in nodes for d in sizes_of(node) for s in symbols(d)}
    if not asked:
        return []
    known = sizes_of_shapes(types).union(*map(dims_made_by, nodes))
    return [Dim({((symbol, 1),): 1}) for name, symbol in asked.items() if name not in known]


def _attribute_sizes(node: Node) -> list[Dim]:
    found = []
    for value in node.attrs.values():
        found += [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Dim)]
    return found


def dims_made_by(node: Node) -> set[str]:
    """The data-dependent dims of a node: those of its results that neither its operands nor its attributes have."""
    function = node.attrs.get("function")
    if isinstance(function, Callee):
        return set(function.data_dependent_dims)
    names = {s.name for r in node.results for d in r.shape if isinstance(d, Dim) and (s := as_symbol(d)) is not None}
    if names:
        given = (*_attribute_sizes(node), *(d for v in node.inputs for d in v.shape))
        names -= {s.name for d in given for s in symbols(d)}
    return names
