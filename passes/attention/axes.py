"""Axis factors: what the axes of a value are made of, however often it was reshaped and transposed.

A reshape of [B, S, 768] to [B, S, 12, 64] writes the axis of 768 as the product 12 * 64. An `AxisFactor` is one such
factor; an axis is a tuple of factors, the slowest-varying first, and an axis of size 1 has none. Transposes, reshapes and
expansions only rearrange factors, so two ways to write the same product are equal once their axes are factors. Where
a reshape cuts through a factor, the factor is split in two, in every value that has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tgraph.ir.axis_maps import AxisMap, axis_map, declared_map
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike
from tgraph.ir.graph import Graph
from tgraph.ir.rules import Constraints
from tgraph.ir.values import Node, Result, Value

TRANSPARENT = ("permute", "regroup", "repeat")  # kinds of view ops that only rearrange axis factors


@dataclass(eq=False)
class AxisFactor:
    """One factor of the size of an axis; compared by identity. `parts` are its own factors once a reshape has split it."""

    size: DimLike
    parts: tuple[AxisFactor, ...] = field(default=(), repr=False)

    def split(self, outer: DimLike, inner: DimLike) -> tuple[AxisFactor, AxisFactor]:
        """Split the factor into two, wherever it is used."""
        self.parts = parts = AxisFactor(outer), AxisFactor(inner)
        return parts


Axis = tuple[AxisFactor, ...]
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class View:
    """A value with the factors of its axes."""

    value: Value
    axes: Axes

    @property
    def factors(self) -> Axis:
        """The finest factors of all axes, in order."""
        return flat(self.axes)


def new_axes(shape: Sequence[DimLike]) -> Axes:
    """Axes of one new factor each; none for those of size 1."""
    return tuple(() if size == 1 else (AxisFactor(size),) for size in shape)


def resolve(axis: Axis) -> Axis:
    """The finest factors of an axis: those that were split are replaced by their parts."""
    found: list[AxisFactor] = []
    for factor in axis:
        found.extend(resolve(factor.parts) if factor.parts else (factor,))
    return tuple(found)


def flat(axes: Axes) -> Axis:
    """The finest factors of all axes, in order."""
    return tuple(factor for axis in axes for factor in resolve(axis))


def size_of(axis: Axis) -> DimLike:
    """The size of an axis: the product of its factors."""
    return math.prod(factor.size for factor in axis)


def aligned(value: Value, axes: Axes) -> View:
    """An operand that is broadcast to a result with these axes."""
    own = axes[len(axes) - value.type.rank:]
    return View(value, tuple(() if size == 1 else axis for size, axis in zip(value.shape, own)))


def regroup(graph: Graph, axes: Axes, shape: Sequence[DimLike]) -> Axes | None:
    """The axes after a reshape to `shape`, which takes the factors in order and splits those that reach over two axes.

    None if the boundary of two axes lies within a factor that cannot be divided there.
    """
    left, result = list(flat(axes)), []
    for size in shape:
        axis: list[AxisFactor] = []
        while size != 1:
            if not left:
                return None
            factor = left.pop(0)
            rest = 1 if _equal(graph, factor.size, size) else _quotient(graph, size, factor.size)
            if rest is None:
                inner = _quotient(graph, factor.size, size)
                if inner is None:
                    return None
                factor, tail = factor.split(size, inner)
                left.insert(0, tail)
                rest = 1
            axis.append(factor)
            size = rest
        result.append(tuple(axis))
    return None if left else tuple(result)


def _equal(graph: Graph, a: DimLike, b: DimLike) -> bool:
    return a == b or Constraints(graph.constraints).compare(a, b) == "equal"


def _quotient(graph: Graph, a: DimLike, b: DimLike) -> DimLike | None:
    """a / b if that is exact and neither trivial (1, or a itself) nor 0, else None."""
    if b == 0 or b == 1:
        return None
    quotient = a // b
    return quotient if quotient != 0 and quotient != 1 and _equal(graph, quotient * b, a) else None


def is_view(node: Node) -> bool:
    """Whether a node only rearranges the axis factors of its operand."""
    return node.op.traits.view in TRANSPARENT


def view_operand(graph: Graph, view: View) -> View | None:
    """The operand of the view op that makes a value; None if no view op does, or one that has no form in axis factors."""
    if not isinstance(view.value, Result) or not is_view(view.value.node):
        return None
    node, axes = view.value.node, view.axes
    x = node.inputs[0]
    sources = _source_axes(node)
    if sources is None:
        found = regroup(graph, axes, x.shape) if node.op.traits.view == "regroup" else None
        return None if found is None else View(x, found)
    place = {axis: i for i, axis in enumerate(sources)}
    return View(x, tuple(axes[place[a]] if a in place and size != 1 else () for a, size in enumerate(x.shape)))


def _source_axes(node: Node) -> AxisMap | None:
    """The operand's axis that each axis of a view op's result comes from; None for a reshape, where only sizes tell."""
    return declared_map(node, 0) if node.op.traits.view == "regroup" else axis_map(node, 0)


def result_axes(graph: Graph, node: Node, axes: Axes) -> Axes | None:
    """The axes of a view op's result, given those of its operand; None if the op has no form in axis factors."""
    if node.op.traits.view not in ("permute", "regroup"):
        return None  # the result of an expansion has factors that its operand lacks
    sources = _source_axes(node)
    if sources is None:
        return regroup(graph, axes, node.result.shape) if node.op.traits.view == "regroup" else None
    return tuple(() if a is None else axes[a] for a in sources)


def view_chain(graph: Graph, view: View) -> list[View]:
    """A value, what it is a view of, what that is a view of, and so on."""
    found = [view]
    while (operand := view_operand(graph, found[-1])) is not None:
        found.append(operand)
    return found


def view_root(graph: Graph, view: View) -> View:
    """The value beneath all view ops."""
    return view_chain(graph, view)[-1]


# From the axes that a value has to those that an op asks for

Step = tuple[str, dict[str, Any]]  # the name of an op and its attributes


def plan(view: View, target: Axes) -> list[Step] | None:
    """The ops that bring a value to the axes `target`: a transpose, an expand, and reshapes where they are needed.

    The value may lack factors of `target`, which the expand adds. None if it has others, or one twice.
    """
    source = tuple(resolve(axis) for axis in view.axes)
    target = tuple(resolve(axis) for axis in target)
    present, wanted = flat(source), flat(target)
    if not set(present) <= set(wanted) or len(set(present)) != len(present):
        return None
    ordered = [factor for factor in wanted if factor in set(present)]
    steps: list[Step] = []
    if list(present) != ordered:
        perm = _permutation(source, target)
        if perm is not None:
            return [("transpose", {"perm": perm})]
        runs = _runs(source, ordered)
        perm = tuple(sorted(range(len(runs)), key=lambda i: ordered.index(runs[i][0])))
        steps += [*_reshape(source, runs), ("transpose", {"perm": perm})]
        source = tuple(runs[i] for i in perm)
    missing = set(wanted) - set(present)
    if missing:
        whole_axes = all(not missing & set(axis) or missing >= set(axis) for axis in target)
        wide = target if whole_axes else tuple((factor,) for factor in wanted)
        steps += _reshape(source, tuple(() if missing & set(axis) else axis for axis in wide))
        steps.append(("expand", {"shape": tuple(size_of(axis) for axis in wide)}))
        source = wide
    return steps + _reshape(source, target)


def _permutation(source: Axes, target: Axes) -> tuple[int, ...] | None:
    """The permutation by which a single transpose makes `target` of `source`, axes of size 1 included; None if none does."""
    left = list(range(len(source)))
    perm = []
    for axis in target:
        found = next((i for i in left if source[i] == axis), None)
        if found is None:
            return None
        perm.append(found)
        left.remove(found)
    return None if left else tuple(perm)


def _runs(source: Axes, order: list[AxisFactor]) -> Axes:
    """The axes of `source`, each cut into the longest runs of factors that also follow one another in `order`."""
    position = {factor: i for i, factor in enumerate(order)}
    runs: list[list[AxisFactor]] = []
    for axis in source:
        for i, factor in enumerate(axis):
            if i and position[factor] == position[axis[i - 1]] + 1:
                runs[-1].append(factor)
            else:
                runs.append([factor])
    return tuple(tuple(run) for run in runs)


def _reshape(source: Axes, target: Axes) -> list[Step]:
    """The one op, or none, that groups the same factors into other axes."""
    if source == target:
        return []
    if tuple(a for a in target if a) == source:
        rank = len(target)
        return [("unsqueeze", {"axes": tuple(i - rank for i, a in enumerate(target) if not a)})]
    if tuple(a for a in source if a) == target:
        rank = len(source)
        return [("squeeze", {"axes": tuple(i - rank for i, a in enumerate(source) if not a)})]
    return [("reshape", {"shape": tuple(size_of(axis) for axis in target)})]


def cheapest(chain: Sequence[View], targets: Sequence[Axes]) -> tuple[View, list[Step]] | None:
    """The value of a `view_chain` to start from, and the ops from it to one of the targets, with the fewest ops in all.

    The view ops that make the value count too. Among equals: the fewest new ops, then the first target. None if there
    is no way.
    """
    plans = [(len(chain) - i + len(steps), len(steps), view, steps)
             for target in targets for i, view in enumerate(chain) if (steps := plan(view, target)) is not None]
    return min(plans, key=lambda p: p[:2])[2:] if plans else None


def build(b: Builder, value: Value, steps: Sequence[Step]) -> Value:
    """Apply the ops of a plan."""
    for name, attrs in steps:
        value = getattr(b, name)(value, **attrs)
    return value
