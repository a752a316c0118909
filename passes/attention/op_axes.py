"""The axes of the `attention` op for two products around a softmax: which axis factors are batch, heads, and so on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from passes.attention.axes import Axes, Axis, AxisFactor, View, flat, resolve, view_root
from passes.attention.failure import MatchFailure
from tgraph.ir.graph import Graph
from tgraph.ir.values import Result


@dataclass(frozen=True)
class OpAxes:
    """The axis factors of the op's axes. `heads` are those of k and v; each of them is read by all `repeats` heads of q."""

    batch: Axis
    heads: Axis
    repeats: Axis
    positions: Axis  # of queries
    keys: Axis
    inner: Axis  # head_dim of q and k
    width: Axis  # head_dim of v

    @property
    def query(self) -> Axes:
        return self.batch, (*self.heads, *self.repeats), self.positions, self.inner

    @property
    def key(self) -> Axes:
        return self.batch, self.heads, self.keys, self.inner

    @property
    def value(self) -> Axes:
        return self.batch, self.heads, self.keys, self.width

    @property
    def scores(self) -> Axes:
        return self.batch, (*self.heads, *self.repeats), self.positions, self.keys

    @property
    def result(self) -> Axes:
        return self.batch, (*self.heads, *self.repeats), self.positions, self.width


def op_axes(graph: Graph, scores: Axes, keys: Axis, inner: Axis, key: View, value: View, output: View,
            positions: Axis | None = None) -> OpAxes:
    """The op's axes, from those of the scores, the axes that the products sum over, k, v and the result of the second product.

    Of what the scores have besides the keys, the factors that k and v have too are batch and heads. Of those that k and v
    lack, the last ones are query positions, unless it is known which are, and others are heads that share a key head (which may
    count as positions where none is told from another, as if there were more queries). Raises MatchFailure if k or v has no
    batch, or a symbolic number of heads shares a key head.
    """
    roots = [view_root(graph, view).factors for view in (key, value)]  # first: this may split factors
    keys = resolve(keys)
    axes = [tuple(f for f in resolve(axis) if f not in keys) for axis in scores]
    held = _held_by_keys(axes, set(key.factors), set().union(*roots))
    positions = _query_positions(axes, held) if positions is None else resolve(positions)
    repeats = tuple(f for axis in axes for f in axis if f not in held and f not in positions)
    batch, heads = _batch_and_heads([kept for axis in axes if (kept := tuple(f for f in axis if f in held))], bool(repeats))
    last = output.value.node if isinstance(output.value, Result) else None
    for name, view in (("k", key), ("v", value)):
        if not set(batch) <= set(view.factors):
            raise MatchFailure(f"{name} is the same for the whole batch", last)
    if repeats and any(not isinstance(f.size, int) for f in (*heads, *repeats)):
        raise MatchFailure("a symbolic number of heads shares a key head", last)
    width = tuple(f for f in output.factors if f not in set(flat(scores)))
    return OpAxes(batch, heads, repeats, positions, keys, resolve(inner), width)


def _held_by_keys(axes: Sequence[Axis], key: set[AxisFactor], roots: set[AxisFactor]) -> set[AxisFactor]:
    """The factors of the scores that count as k's and v's: `roots`, of the values beneath their view ops, and some added to k.

    An expansion of k to a static size, behind a batch or a head, repeats heads, which k itself lacks. Others count as k's.
    """
    held = set(roots)
    behind = False
    for factor in itertools.chain(*axes):
        if factor in key and not (behind and isinstance(factor.size, int)):
            held.add(factor)
        behind = behind or factor in held
    return held


def _query_positions(axes: Sequence[Axis], held: set[AxisFactor]) -> Axis:
    """The last factors of the scores that k and v lack: those at the end of an axis, the last axis that ends in such."""
    for axis in reversed(axes):
        tail = tuple(itertools.takewhile(lambda f: f not in held, reversed(axis)))
        if tail:
            return tail[::-1]
    return ()


def _batch_and_heads(axes: Sequence[Axis], repeated: bool) -> tuple[Axis, Axis]:
    """The axes that k and v share with the scores, as batch and heads: the last axis is heads, if there are two or more.

    A single axis is both if it has several factors, and batch alone if heads are `repeated`, which are then heads of q.
    """
    if len(axes) > 1:
        return flat(tuple(axes[:-1])), axes[-1]
    axis = axes[0] if axes else ()
    return (axis[:-1], axis[-1:]) if len(axis) > 1 and not repeated else (axis, ())
