"""Attention found in a graph, its operands in axis factors: two products around a softmax, and the `attention` op for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from passes.attention.axes import Axes, Axis, Step, View, build, cheapest, resolve, size_of, view_chain, view_root
from passes.attention.conditions import Leaf, conjuncts
from passes.attention.failure import MatchFailure
from passes.attention.op_axes import OpAxes, op_axes
from passes.attention.positions import Limits, Offset, Places, limits, places
from passes.rewriting import erase_dead
from tgraph.ir.builder import Builder
from tgraph.ir.dims import Dim, bounds, compare
from tgraph.ir.dtypes import DType, i64
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value


@dataclass(frozen=True)
class Term:
    """A term added to the scores: scale * view."""

    view: View
    scale: float = 1.0


@dataclass(frozen=True)
class Masked:
    """A selection: scores become `fill` where the condition does not hold."""

    condition: Leaf
    fill: float


@dataclass(frozen=True)
class DynamicScale:
    """A tensor that the scores are multiplied by, or divided by; the same for all keys."""

    view: View
    divides: bool = False


@dataclass
class Form:
    """An attention that a match found: softmax(scale q k^T, capped, + terms, where conditions) v."""

    axes: Axes  # of the scores
    keys: Axis  # the one that softmax goes over
    inner: Axis  # the one that q k^T sums over
    query: View
    key: View
    value: View
    output: View  # the result of the second product
    scale: float
    terms: Sequence[Term | Masked] = ()  # what becomes the bias: the changes to the scores, the last one first
    conditions: Sequence[Leaf] = ()  # what becomes the mask
    empty_row: str = "zero"
    nodes: Sequence[Node] = field(default=())
    known: Places = field(default=Places())  # limits that do not stand in the conditions
    positions: Axis | None = None  # of queries, if known limits count from them
    dynamic_scales: Sequence[DynamicScale] = ()
    softcap: float = 0.0  # 0: the scores are not capped

    def replace(self, graph: Graph) -> Value:
        """Replace the match by an `attention` op, and return the value that replaces the output.

        Raises MatchFailure, before it changes anything, if no such op says the same.
        """
        op = self._op_axes(graph)
        query, key, value = (self._plan(graph, v, t, n) for v, t, n in (
            (self.query, op.query, "q"), (self.key, op.key, "k"), (self.value, op.value, "v")))
        views = [t.condition.view if isinstance(t, Masked) else t.view for t in self.terms]
        terms = [(self._plan(graph, v, op.scores, "the bias", broadcasts=True), t) for v, t in zip(views, self.terms)]
        scales = [(self._plan(graph, s.view, op.scores, "the scale", broadcasts=True), s.divides) for s in self.dynamic_scales]
        found, leaves = self._places(graph, op)
        masks = self._masks(graph, leaves, op)
        never_empty = not masks and _always_some(found, op)
        empty_row = "zero" if never_empty else self.empty_row
        back = cheapest([View(self.query.value, op.result)], [self.output.axes])
        if back is None:
            raise MatchFailure("the result has axes that attention does not give", self.nodes[-1])

        b = Builder(graph, Provenance.merge(n.provenance for n in self.nodes))
        dtype = self.query.value.dtype
        made = b.attention(
            _scaled(b, build(b, *query), scales), build(b, *key), build(b, *value),
            _conjunction(b, masks), _bias(b, terms, dtype),
            None if found.offset is None else _offset(b, found.offset),
            scale=self._exact_scale(), causal=found.causal, window=found.window, empty_row=empty_row, softcap=self.softcap)
        made = build(b, made, back[1])
        last = self.output.value
        assert isinstance(last, Result)
        graph.replace(last, made)
        erase_dead(graph, [last.node], above=True)
        return made

    def improves(self, graph: Graph, node: Node) -> bool:
        """Whether the form says more than `node`, the `attention` op that it was read from."""
        op = self._op_axes(graph)
        found, _ = self._places(graph, op)
        _, k, _, mask, bias, _ = node.operands
        assert k is not None
        return (self.scale != node.attrs["scale"] or (found.causal, found.window) != (node.attrs["causal"], node.attrs["window"])
                or size_of(op.heads) != k.shape[1] or len(self.conditions) != (mask is not None)
                or (bias is not None and not self.terms))

    def _op_axes(self, graph: Graph) -> OpAxes:
        return op_axes(graph, self.axes, self.keys, self.inner, self.key, self.value, self.output, self.positions)

    def _plan(self, graph: Graph, view: View, target: Axes, name: str, broadcasts: bool = False) -> _Plan:
        """How to bring an operand to the axes `target`. Raises MatchFailure, which calls it `name`, if that cannot be.

        With `broadcasts` the op broadcasts it: axes whose factors it lacks stay 1, and leading ones may be absent.
        """
        targets = [target]
        if broadcasts:
            held = set(view.factors) | set(view_root(graph, view).factors)
            targets = [tuple(axis if set(axis) & held else () for axis in target)]
            while targets[-1] and not targets[-1][0]:
                targets.append(targets[-1][1:])
        found = cheapest(view_chain(graph, view), targets)
        if found is None:
            raise MatchFailure(f"{name} has other axes than attention takes", self.nodes[-1])
        return found[0].value, found[1]

    def _masks(self, graph: Graph, leaves: Sequence[Leaf], op: OpAxes) -> list[tuple[_Plan, bool]]:
        """How to bring conditions to a shape that the op takes, [B, Sk], [B, Sq, Sk] or of rank 4, and whether to negate them.

        Several conditions all get the same one, so that `logical_and` joins them.
        """
        held = {f for leaf in leaves for f in leaf.root.factors}
        smallest = 2 if held & set(op.scores[1]) else 1 if held & set(op.positions) else 0
        targets: list[list[Axes]] = []
        for leaf in leaves:
            own = set(leaf.root.factors)
            batch, heads, query, keys = (axis if set(axis) & own else () for axis in op.scores)
            shapes: list[Axes] = [(batch, keys), (batch, query, keys), (batch, heads, query, keys)]
            targets.append(shapes[smallest:] if len(leaves) == 1 else shapes[smallest:smallest + 1])
        plans = []
        for leaf, wanted in zip(leaves, targets):
            found = cheapest(view_chain(graph, leaf.view), wanted)  # may split factors: so all targets come first
            if found is None:
                raise MatchFailure("the mask has other axes than the scores", self.nodes[-1])
            plans.append(((found[0].value, found[1]), leaf.negated))
        return plans

    def _places(self, graph: Graph, op: OpAxes) -> tuple[Places, Sequence[Leaf]]:
        """The limits of the keys by position, and the other conjuncts; the whole conditions if none of them is a limit."""
        found, rest = self.known, []
        for leaf in {leaf.key: leaf for leaf in self.leaves(graph)}.values():
            more, now = limits(graph, leaf, op.positions, op.keys), found.limits
            joined = None
            if more is not None and not (now.first and more.first) and not (now.last and more.last):
                joined = places(Limits(now.first or more.first, now.last or more.last))
            if joined is None:
                rest.append(leaf)
            else:
                found = joined
        return (found, rest) if found is not self.known else (found, list({leaf.key: leaf for leaf in self.conditions}.values()))

    def leaves(self, graph: Graph) -> list[Leaf]:
        """The conjuncts of all conditions."""
        return [leaf for condition in self.conditions for leaf in conjuncts(graph, condition.view, condition.negated)]

    def _exact_scale(self) -> float:
        """1 / sqrt(head_dim), the op's default, if the scale found is that up to rounding; else the scale found."""
        head_dim = 1.0
        for factor in resolve(self.inner):
            if not isinstance(factor.size, int):
                return self.scale
            head_dim *= factor.size
        if not head_dim:
            return self.scale
        dtype = self.query.value.dtype
        default = 1 / math.sqrt(head_dim)
        step = {"f16": 1e-3, "bf16": 8e-3, "f32": 2.5e-7}.get(dtype.name, 5e-16)  # two roundings, as of sqrt factors
        return default if abs(self.scale - default) <= step * default else self.scale


_Plan = tuple[Value, list[Step]]  # a value of the graph, and the ops to apply to it


def _always_some(found: Places, op: OpAxes) -> bool:
    """Whether the limits leave every query a key: the first one, or the one at its own place."""
    first, last = found.limits.first, found.limits.last
    if last is not None and (last.dynamic is not None or (low := bounds(last.static)[0]) is None or low < 0):
        return False
    if first is None:
        return True
    own = first.dynamic is None and (high := bounds(first.static)[1]) is not None and high <= 0
    return own and compare(size_of(op.positions), size_of(op.keys)) == "equal"


def _conjunction(b: Builder, masks: Sequence[tuple[_Plan, bool]]) -> Value | None:
    """The masks joined by `logical_and`; None if there are none."""
    made: Value | None = None
    for (value, steps), negated in masks:
        one = build(b, b.logical_not(value) if negated else value, steps)
        made = one if made is None else b.logical_and(made, one)
    return made


def _scaled(b: Builder, query: Value, scales: Sequence[tuple[_Plan, bool]]) -> Value:
    """q times the dynamic scales of the scores, or divided by them."""
    for (value, steps), divides in scales:
        scale = build(b, value, steps)
        query = b.div(query, scale) if divides else b.mul(query, scale)
    return query


def _bias(b: Builder, terms: Sequence[tuple[_Plan, Term | Masked]], dtype: DType) -> Value | None:
    """The sum of all terms; with selections among them, the scores' changes in their order, applied to 0."""
    made: Value | None = None
    ordered = terms[::-1] if any(isinstance(term, Masked) for _, term in terms) else terms
    for (value, steps), term in ordered:
        if isinstance(term, Masked):
            kept = build(b, b.logical_not(value) if term.condition.negated else value, steps)
            made = b.where(kept, b.constant(0.0, dtype) if made is None else made, b.constant(term.fill, dtype))
            continue
        if term.scale == -1.0:
            value = b.neg(value)
        elif term.scale != 1.0:
            value = b.mul(value, term.scale)
        one = build(b, value, steps)
        made = one if made is None else b.add(made, one)
    return made


def _offset(b: Builder, offset: Offset) -> Value | None:
    """The op's operand `offset`: static + dynamic, or None for 0."""
    static = offset.static
    made = b.dim_size(size=static, dtype=i64) if isinstance(static, Dim) else static
    if offset.dynamic is None:
        return None if static == 0 else made if isinstance(made, Value) else b.constant(made, i64)
    if static == 0:
        return offset.dynamic
    dynamic = offset.dynamic if offset.dynamic.dtype == i64 else b.cast(offset.dynamic, dtype=i64)
    total: Value = b.add(dynamic, made)
    return total
