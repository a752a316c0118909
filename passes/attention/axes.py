"""Values seen through views: which digits of an index each axis stands for, however often it was reshaped.

An index is a tuple of digits, like a mixed-radix number. An `Atom` is one digit, an axis the atoms that it is made
of, the slowest first (none: an axis of size 1). Transposes, reshapes, expansions and their like only deal the atoms
anew, so that two spellings of one product are equal once both are told in atoms. A reshape that cuts an axis splits
its atom everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tgraph.ir.axis_maps import AxisMap, axis_map, declared_map
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike
from tgraph.ir.graph import Graph
from tgraph.ir.rules import Constraints
from tgraph.ir.values import Node, Result, Value

SEEN_THROUGH = ("permute", "regroup", "repeat")  # kinds of views that deal the atoms of an index anew


@dataclass(eq=False)
class Atom:
    """One digit of an index; `parts` are the finer ones once a reshape has cut it."""

    size: DimLike
    parts: tuple[Atom, ...] = field(default=(), repr=False)


Axis = tuple[Atom, ...]
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class View:
    """A value and the atoms of its axes."""

    value: Value
    axes: Axes

    @property
    def atoms(self) -> Axis:
        return flat(self.axes)


def fresh(shape: Sequence[DimLike]) -> Axes:
    """Axes with an atom each, but for those of size 1."""
    return tuple(() if size == 1 else (Atom(size),) for size in shape)


def resolve(axis: Axis) -> Axis:
    """The finest atoms that an axis is made of."""
    found: list[Atom] = []
    for atom in axis:
        found.extend(resolve(atom.parts) if atom.parts else (atom,))
    return tuple(found)


def flat(axes: Axes) -> Axis:
    """The finest atoms of all axes, in order."""
    return tuple(atom for axis in axes for atom in resolve(axis))


def size_of(axis: Axis) -> DimLike:
    """The size of an axis."""
    total: DimLike = 1
    for atom in axis:
        total = total * atom.size
    return total


def aligned(value: Value, axes: Axes) -> View:
    """An operand of an op that broadcasts to `axes`."""
    own = axes[len(axes) - value.type.rank:]
    return View(value, tuple(() if size == 1 else axis for size, axis in zip(value.shape, own)))


def regroup(graph: Graph, axes: Axes, shape: Sequence[DimLike]) -> Axes | None:
    """The axes after a reshape to `shape`; None if it cuts through a digit whose size it does not divide."""
    left, result = list(flat(axes)), []
    for size in shape:
        axis: list[Atom] = []
        while size != 1:
            if not left:
                return None
            atom = left.pop(0)
            axis.append(atom)
            if _equal(graph, atom.size, size):
                break
            if (rest := _quotient(graph, size, atom.size)) is not None:
                size = rest
            elif (rest := _quotient(graph, atom.size, size)) is not None:
                atom.parts = Atom(size), Atom(rest)
                axis[-1] = atom.parts[0]
                left.insert(0, atom.parts[1])
                break
            else:
                return None
        result.append(tuple(axis))
    return None if left else tuple(result)


def _equal(graph: Graph, a: DimLike, b: DimLike) -> bool:
    return a == b or Constraints(graph.constraints).compare(a, b) == "equal"


def _quotient(graph: Graph, a: DimLike, b: DimLike) -> DimLike | None:
    if b == 0 or b == 1:
        return None
    quotient = a // b
    return quotient if quotient != 0 and quotient != 1 and _equal(graph, quotient * b, a) else None


def is_view(node: Node) -> bool:
    """Whether a node deals the atoms of its operand anew."""
    return node.op.traits.view in SEEN_THROUGH


def beneath(graph: Graph, view: View) -> View | None:
    """What a view is a view of; None if the value is no view, or one that cannot be told in atoms."""
    if not isinstance(view.value, Result) or not is_view(view.value.node):
        return None
    node, axes = view.value.node, view.axes
    x = node.inputs[0]
    sources = _sources(node)
    if sources is None:
        found = regroup(graph, axes, x.shape) if node.op.traits.view == "regroup" else None
        return None if found is None else View(x, found)
    place = {axis: i for i, axis in enumerate(sources)}
    return View(x, tuple(axes[place[a]] if a in place and size != 1 else () for a, size in enumerate(x.shape)))


def _sources(node: Node) -> AxisMap | None:
    """The axis that each axis of a view's result is; None if only the sizes tell."""
    return declared_map(node, 0) if node.op.traits.view == "regroup" else axis_map(node, 0)


def above(graph: Graph, node: Node, axes: Axes) -> Axes | None:
    """The axes of a view's result from those of its operand; None if they cannot be told in atoms."""
    if node.op.traits.view not in ("permute", "regroup"):
        return None  # what repeats its operand has digits in its result that the operand lacks
    sources = _sources(node)
    if sources is None:
        return regroup(graph, axes, node.result.shape) if node.op.traits.view == "regroup" else None
    return tuple(() if a is None else axes[a] for a in sources)


def stages(graph: Graph, view: View) -> list[View]:
    """A value and all that it is a view of, the deepest last."""
    found = [view]
    while (inner := beneath(graph, found[-1])) is not None:
        found.append(inner)
    return found


Step = tuple[str, dict[str, Any]]


def plan(view: View, target: Axes) -> list[Step] | None:
    """The ops that make axes `target` of a view, which may lack some of its atoms; None if it has others."""
    source = tuple(resolve(axis) for axis in view.axes)
    target = tuple(resolve(axis) for axis in target)
    present, wanted = flat(source), flat(target)
    if not set(present) <= set(wanted) or len(set(present)) != len(present):
        return None
    moved = [atom for atom in wanted if atom in set(present)]
    steps: list[Step] = []
    if list(present) != moved:
        perm = _permutation(source, target)
        if perm is not None:
            return [("transpose", {"perm": perm})]
        units = _units(source, moved)
        perm = tuple(sorted(range(len(units)), key=lambda i: moved.index(units[i][0])))
        steps += [*_reshape(source, units), ("transpose", {"perm": perm})]
        source = tuple(units[i] for i in perm)
    missing = set(wanted) - set(present)
    if missing:
        whole = all(not missing & set(axis) or missing >= set(axis) for axis in target)
        wide = target if whole else tuple((atom,) for atom in wanted)
        steps += _reshape(source, tuple(() if missing & set(axis) else axis for axis in wide))
        steps.append(("expand", {"shape": tuple(size_of(axis) for axis in wide)}))
        source = wide
    return steps + _reshape(source, target)


def _permutation(source: Axes, target: Axes) -> tuple[int, ...] | None:
    """How one transpose makes `target` of `source`, axes of size 1 included; None if it cannot."""
    left = list(range(len(source)))
    perm = []
    for axis in target:
        found = next((i for i in left if source[i] == axis), None)
        if found is None:
            return None
        perm.append(found)
        left.remove(found)
    return None if left else tuple(perm)


def _units(source: Axes, order: list[Atom]) -> Axes:
    """Runs of atoms that stay together on the way from `source` to `order`, in the order of `source`."""
    position = {atom: i for i, atom in enumerate(order)}
    units: list[list[Atom]] = []
    for axis in source:
        for i, atom in enumerate(axis):
            if i and position[atom] == position[axis[i - 1]] + 1:
                units[-1].append(atom)
            else:
                units.append([atom])
    return tuple(tuple(unit) for unit in units)


def _reshape(source: Axes, target: Axes) -> list[Step]:
    """The one op, or none, between two groupings of the same atoms."""
    if source == target:
        return []
    if tuple(a for a in target if a) == source:
        rank = len(target)
        return [("unsqueeze", {"axes": tuple(i - rank for i, a in enumerate(target) if not a)})]
    if tuple(a for a in source if a) == target:
        rank = len(source)
        return [("squeeze", {"axes": tuple(i - rank for i, a in enumerate(source) if not a)})]
    return [("reshape", {"shape": tuple(size_of(axis) for axis in target)})]


def cheapest(found: Sequence[View], targets: Sequence[Axes]) -> tuple[View, list[Step]] | None:
    """The one of the `stages` of a value, and the steps from it to one of the targets, with the fewest ops on the way.

    The ops that lead to a stage count too; of equal ones it is the stage that needs the fewest steps, then the first
    target.
    """
    plans = [(len(found) - i + len(steps), len(steps), view, steps)
             for target in targets for i, view in enumerate(found) if (steps := plan(view, target)) is not None]
    return min(plans, key=lambda p: p[:2])[2:] if plans else None


def build(b: Builder, value: Value, steps: Sequence[Step]) -> Value:
    """Apply the steps of a plan."""
    for name, attrs in steps:
        value = getattr(b, name)(value, **attrs)
    return value
