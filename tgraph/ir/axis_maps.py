"""Axis maps: for a node and an operand of it, the axis of the operand that each axis of the result comes from.

If result axis r comes from operand axis a, the results at position i along r depend only on the operand at position i along a
(at position 0 where the operand has size 1 there and is broadcast). An axis that comes from no single axis has None. With these
maps, rows can be followed through a graph whatever the ops do to them: transpose, split into heads, normalise.

The map follows from the traits of most ops (elementwise, row-wise, a view that regroups or repeats), and of products from their
`contraction`. Others declare it, one entry an operand:

    @transpose.axis_map
    def _(operands, result, attrs):
        return [attrs["perm"]]
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from .dims import DimLike, compare
from .types import TensorType
from .values import Node

AxisMap = tuple["int | None", ...]
Labels = tuple[Hashable, ...]
Same = Callable[[DimLike, DimLike], bool]


def provably_equal(a: DimLike, b: DimLike) -> bool:
    """Whether two sizes are equal whatever the dims are."""
    return compare(a, b) == "equal"


def broadcast_map(operand: int, result: int) -> AxisMap:
    """The map of an operand of one rank that is broadcast to another: the last axes correspond."""
    shift = operand - result
    return tuple(r + shift if r + shift >= 0 else None for r in range(result))


def same_axes(rank: int, *but: int) -> AxisMap:
    """The map of an op that keeps all axes in place, with None for the axes in `but`; negative ones count from the end."""
    gone = {a % rank for a in but} if rank else set()
    return tuple(None if a in gone else a for a in range(rank))


def axis_map(node: Node, position: int, same: Same = provably_equal) -> AxisMap | None:
    """The map of one operand of a node; None if nothing is known, or the operand is absent.

    `same` tells whether two sizes are equal, where a view regroups axes. All results of a node have the same map.
    """
    value = node.operands[position]
    traits, result = node.op.traits, node.results[0].type
    if value is None:
        return None
    if (declared := declared_map(node, position)) is not None:
        return declared
    if traits.elementwise:
        return broadcast_map(value.type.rank, result.rank)
    if traits.view == "regroup":
        return tuple(_regrouped(value.shape, result.shape, a, same) for a in range(result.rank))
    if traits.view == "repeat":
        return broadcast_map(value.type.rank, result.rank)
    if traits.along is not None:
        return _row_map(node, value.type) if position == 0 else (None,) * result.rank
    return None


def declared_map(node: Node, position: int) -> AxisMap | None:
    """The map that the op itself declares, or that follows from its contraction; None if there is none."""
    types, result = [None if v is None else v.type for v in node.operands], node.results[0].type
    if node.op.axes is not None:
        found = node.op.axes(types, result, node.attrs)[position]
        return None if found is None else tuple(found)
    if node.op.contract is not None:
        factors, labels = contraction(node)
        if position >= len(factors):
            return (None,) * result.rank  # added to the product: a bias, the same for all rows
        return tuple(factors[position].index(c) if c in factors[position] else None for c in labels)
    return None


def contraction(node: Node) -> tuple[list[Labels], Labels]:
    """A product as a sum over axes: a label for each axis of each factor, and those of the result, as in an einsum.

    Operands past the factors are added to the result.
    """
    assert node.op.contract is not None
    types = [None if v is None else v.type for v in node.operands]
    factors, result = node.op.contract(types, node.results[0].type, node.attrs)
    return [tuple(f) for f in factors], tuple(result)


def worked_axes(node: Node) -> tuple[int, ...]:
    """The axes of the first operand along which a row-wise op works, counted from the start."""
    along, rank = node.op.traits.along, node.inputs[0].type.rank
    given = node.attrs[along] if isinstance(along, str) else along
    axes = given if isinstance(given, tuple) else (given,)
    return tuple(a % rank for a in axes if a is not None) if rank else ()


def permutation(node: Node) -> tuple[int, ...] | None:
    """For a view that permutes axes, the axis of the operand that each axis of the result is; None for other nodes."""
    found = declared_map(node, 0) if node.op.traits.view == "permute" else None
    axes = tuple(a for a in found or () if a is not None)
    return axes if found is not None and sorted(axes) == list(range(len(found))) else None


def _row_map(node: Node, operand: TensorType) -> AxisMap:
    worked, result = set(worked_axes(node)), node.results[0].type
    kept = range(operand.rank) if result.rank == operand.rank else [a for a in range(operand.rank) if a not in worked]
    return tuple(None if a in worked else a for a in kept)


def _regrouped(x: Sequence[DimLike], y: Sequence[DimLike], axis: int, same: Same) -> int | None:
    """The axis of `x` that `axis` of the regrouped `y` is: of equal size, after axes of equally many elements."""
    before = _product(y[:axis])
    lead: DimLike = 1
    for a, size in enumerate(x):
        if same(lead, before) and same(size, y[axis]) and (size != 1 or a == axis):
            return a
        lead = lead * size
    return None


def _product(sizes: Sequence[DimLike]) -> DimLike:
    total: DimLike = 1
    for size in sizes:
        total = total * size
    return total


# Applying an op where axes lie elsewhere

Order = Sequence[Sequence[int]]  # for each new axis, the axes that it stands for; several were merged into one


def permuted(perm: Sequence[int]) -> Order:
    """The order of axes after a transpose by `perm`."""
    return [(a,) for a in perm]


def moved_attributes(node: Node, operand: Order, result: Order, merged_size: DimLike = 0) -> dict[str, Any] | None:
    """The attributes for applying the node's op to operands whose axes are in another order, or merged.

    `operand` and `result` are the new axes of the first operand and of the result; a merged axis has `merged_size`. None if
    the op has a meaning for the given order only, or works along an axis that was merged.
    """
    if not node.op.traits.rank_generic:
        return None
    attrs = dict(node.attrs)
    ranks = node.inputs[0].type.rank if node.inputs else 0, node.results[0].type.rank
    for name, role in node.op.traits.axis_attributes.items():
        value = attrs[name]
        if value is None:
            continue
        order, rank = (operand, ranks[0]) if role in ("operand axes", "operand entries") else (result, ranks[1])
        if role in ("operand axes", "result axes"):
            places = {old[0]: new for new, old in enumerate(order) if len(old) == 1}
            axes = [a % rank for a in (value if isinstance(value, tuple) else (value,))]
            if any(a not in places for a in axes):
                return None
            attrs[name] = tuple(places[a] for a in axes) if isinstance(value, tuple) else places[axes[0]]
        elif role == "permutation":
            places = {old: new for new, group in enumerate(operand) for old in group}
            attrs[name] = tuple(places[value[group[0]]] for group in order)
        elif role == "result sizes":
            attrs[name] = tuple(value[group[0]] if len(group) == 1 else merged_size for group in order)
        else:
            if any(value[a] != value[group[0]] for group in order for a in group):
                return None
            attrs[name] = tuple(value[group[0]] for group in order)
    return attrs


