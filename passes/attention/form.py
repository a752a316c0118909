"""Attention told in atoms: two products around a softmax, and how they become one `attention` op."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from passes.attention.axes import Atom, Axes, Axis, Step, View, build, cheapest, flat, resolve, size_of, stages
from passes.attention.conditions import Leaf, Offset, causal, conjuncts
from passes.rewriting import erase_dead
from tgraph.ir.builder import Builder
from tgraph.ir.dims import Dim, bounds
from tgraph.ir.dtypes import DType, i64
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value


class MatchFailure(Exception):
    """Why something is no attention: after `matched` nodes, for `reason`, at a node."""

    def __init__(self, reason: str, at: Node | None = None, matched: int = 1):
        super().__init__(reason)
        self.reason, self.at, self.matched = reason, at, matched


@dataclass(frozen=True)
class Term:
    """Something that is added to the scores, times a factor."""

    view: View
    factor: float = 1.0


@dataclass(frozen=True)
class Masked:
    """Scores that become `fill` where a condition does not hold."""

    condition: Leaf
    fill: float


@dataclass(frozen=True)
class Factor:
    """Something known at run time only that the scores are multiplied with, or divided by, the same for all keys."""

    view: View
    divides: bool = False


@dataclass
class Form:
    """What a match found. `axes` are those of the scores, `keys` the one that softmax goes over."""

    axes: Axes
    keys: Axis
    inner: Axis
    query: View
    key: View
    value: View
    output: View  # the result of the second product
    scale: float
    terms: Sequence[Term | Masked] = ()  # the bias: what happens to the scores, the last first
    conditions: Sequence[Leaf] = ()
    empty_row: str = "zero"
    nodes: Sequence[Node] = field(default=())
    known: Offset | None = None  # causality that does not stand in the conditions
    factors: Sequence[Factor] = ()

    def replace(self, graph: Graph) -> Value:
        """Put the op in the place of what was matched, and return its result.

        Raises MatchFailure, before it changes anything, if that cannot be.
        """
        groups = self._groups(graph)
        query, key, value = (self._cheapest(graph, v, t, n) for v, t, n in (
            (self.query, groups.query, "q"), (self.key, groups.key, "k"), (self.value, groups.value, "v")))
        terms = [(self._cheapest(graph, t.condition.view if isinstance(t, Masked) else t.view, groups.scores, "the bias",
                                 strip=True), t) for t in self.terms]
        factors = [(self._cheapest(graph, f.view, groups.scores, "the scale", strip=True), f.divides) for f in self.factors]
        offset, leaves = self._causality(graph, groups)
        masks = self._masks(graph, leaves, groups)
        never_empty = not masks and (offset is None or _always_some(offset))  # all keys, or at least the first
        empty_row = "zero" if never_empty else self.empty_row
        back = cheapest([View(self.query.value, groups.result)], [self.output.axes])
        if back is None:
            raise MatchFailure("the result has axes that attention does not give", self.nodes[-1])

        b = Builder(graph, Provenance.merge(n.provenance for n in self.nodes))
        dtype = self.query.value.dtype
        made = b.attention(
            _scaled(b, build(b, *query), factors), build(b, *key), build(b, *value), _all_of(b, masks), _bias(b, terms, dtype),
            None if offset is None else _offset(b, offset),
            scale=self._exact_scale(), causal=offset is not None, empty_row=empty_row)
        made = build(b, made, back[1])
        last = self.output.value
        assert isinstance(last, Result)
        graph.replace(last, made)
        erase_dead(graph, [last.node], above=True)
        return made

    def improves(self, graph: Graph, node: Node) -> bool:
        """Whether the op would say more than an `attention` op that is there says."""
        groups = self._groups(graph)
        offset, _ = self._causality(graph, groups)
        _, k, _, mask, bias, _ = node.operands
        assert k is not None
        return (self.scale != node.attrs["scale"] or (offset is not None) != node.attrs["causal"]
                or size_of(groups.heads) != k.shape[1] or len(self.conditions) != (mask is not None)
                or (bias is not None and not self.terms))

    def _groups(self, graph: Graph) -> _Groups:
        """Which atoms are batch, heads, query positions, and so on."""
        deepest = [stages(graph, view)[-1].atoms for view in (self.key, self.value)]  # first: it may cut atoms
        keys = set(resolve(self.keys))
        axes = [tuple(a for a in resolve(axis) if a not in keys) for axis in self.axes]
        known = {atom for atoms in deepest for atom in atoms}
        before = False
        for axis in axes:  # what only an expansion adds to k and v is a repeated head, if there is a batch before it
            for atom in axis:
                if atom in self.key.atoms and not (before and isinstance(atom.size, int)):
                    known.add(atom)
                before = before or atom in known
        positions: Axis = ()
        for axis in reversed(axes):
            tail: list[Atom] = []
            for atom in reversed(axis):
                if atom in known:
                    break
                tail.insert(0, atom)
            if tail:
                positions = tuple(tail)
                break
        repeats = tuple(a for axis in axes for a in axis if a not in known and a not in positions)
        outer = [kept for axis in axes if (kept := tuple(a for a in axis if a in known))]
        if len(outer) > 1:
            batch, heads = flat(tuple(outer[:-1])), outer[-1]
        elif outer and len(outer[0]) > 1 and not repeats:
            batch, heads = outer[0][:-1], outer[0][-1:]
        else:
            batch, heads = (outer[0] if outer else ()), ()
        for name, atoms in (("k", set(self.key.atoms)), ("v", set(self.value.atoms))):
            if not set(batch) <= atoms:
                raise MatchFailure(f"{name} is the same for the whole batch", self.nodes[-1])
        if repeats and any(not isinstance(a.size, int) for a in (*heads, *repeats)):
            raise MatchFailure("a symbolic number of heads shares a key head", self.nodes[-1])
        width = tuple(a for a in self.output.atoms if a not in set(flat(self.axes)))
        return _Groups(batch, heads, repeats, positions, resolve(self.keys), resolve(self.inner), width)

    def _cheapest(self, graph: Graph, view: View, target: Axes, name: str, strip: bool = False) -> _Plan:
        held = set(view.atoms) | set(stages(graph, view)[-1].atoms)
        targets = [tuple(axis if set(axis) & held else () for axis in target)] if strip else [target]
        while strip and targets[-1] and not targets[-1][0]:
            targets.append(targets[-1][1:])
        found = cheapest(stages(graph, view), targets)
        if found is None:
            raise MatchFailure(f"{name} has other axes than attention takes", self.nodes[-1])
        return found[0].value, found[1]

    def _masks(self, graph: Graph, leaves: Sequence[Leaf], groups: _Groups) -> list[tuple[_Plan, bool]]:
        """Conditions in one of the shapes that the op takes: [B, Sk], [B, Sq, Sk] or rank 4, all in the same."""
        held = {atom for leaf in leaves for atom in leaf.root.atoms}
        targets: list[list[Axes]] = []
        for leaf in leaves:
            own = set(leaf.root.atoms)
            batch, heads, query, keys = (axis if set(axis) & own else () for axis in groups.scores)
            forms: list[Axes] = [(batch, keys), (batch, query, keys), (batch, heads, query, keys)]
            lacks = 2 if held & set(groups.scores[1]) else 1 if held & set(groups.positions) else 0
            targets.append(forms[lacks:])
        if len(leaves) > 1:
            targets = [wanted[:1] for wanted in targets]
        plans = [cheapest(stages(graph, leaf.view), wanted) for leaf, wanted in zip(leaves, targets)]
        if any(plan is None for plan in plans):
            raise MatchFailure("the mask has other axes than the scores", self.nodes[-1])
        return [((plan[0].value, plan[1]), leaf.negated) for plan, leaf in zip(plans, leaves) if plan is not None]

    def _causality(self, graph: Graph, groups: _Groups) -> tuple[Offset | None, Sequence[Leaf]]:
        """The first causal conjunct, and what is left; all conditions as they are if there is none."""
        if self.known is not None:
            return self.known, list(self.conditions)
        leaves = list({leaf.key: leaf for leaf in self.leaves(graph)}.values())
        for leaf in leaves:
            offset = causal(graph, leaf, groups.positions, groups.keys)
            if offset is not None:
                return offset, [other for other in leaves if other is not leaf]
        return None, list({leaf.key: leaf for leaf in self.conditions}.values())

    def leaves(self, graph: Graph) -> list[Leaf]:
        """All conjuncts of all conditions."""
        return [leaf for condition in self.conditions for leaf in conjuncts(graph, condition.view, condition.negated)]

    def _exact_scale(self) -> float:
        """1 / sqrt(head_dim) where the factor found is that, rounded to the type of the scores."""
        head_dim = 1.0
        for atom in resolve(self.inner):
            if not isinstance(atom.size, int):
                return self.scale
            head_dim *= atom.size
        if not head_dim:
            return self.scale
        dtype = self.query.value.dtype
        default = 1 / math.sqrt(head_dim)
        step = {"f16": 1e-3, "bf16": 8e-3, "f32": 2.5e-7}.get(dtype.name, 5e-16)  # two roundings, as of sqrt factors
        return default if abs(self.scale - default) <= step * default else self.scale



_Plan = tuple[Value, list[Step]]


@dataclass(frozen=True)
class _Groups:
    """The atoms of each axis of the op; `heads` are those of k and v, each read by all `repeats`."""

    batch: Axis
    heads: Axis
    repeats: Axis
    positions: Axis
    keys: Axis
    inner: Axis
    width: Axis

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


def _always_some(offset: Offset) -> bool:
    low = bounds(offset.static)[0]
    return offset.dynamic is None and low is not None and low >= 0


def _all_of(b: Builder, masks: Sequence[tuple[_Plan, bool]]) -> Value | None:
    made: Value | None = None
    for (value, steps), negated in masks:
        one = build(b, b.logical_not(value) if negated else value, steps)
        made = one if made is None else b.logical_and(made, one)
    return made


def _scaled(b: Builder, query: Value, factors: Sequence[tuple[_Plan, bool]]) -> Value:
    """Queries with the factors of their scores."""
    for (value, steps), divides in factors:
        factor = build(b, value, steps)
        query = b.div(query, factor) if divides else b.mul(query, factor)
    return query


def _bias(b: Builder, terms: Sequence[tuple[_Plan, Term | Masked]], dtype: DType) -> Value | None:
    """The sum of all terms; with selections among them, all that happens to scores in its order, done to 0."""
    made: Value | None = None
    ordered = terms[::-1] if any(isinstance(term, Masked) for _, term in terms) else terms
    for (value, steps), term in ordered:
        if isinstance(term, Masked):
            kept = build(b, b.logical_not(value) if term.condition.negated else value, steps)
            made = b.where(kept, b.constant(0.0, dtype) if made is None else made, b.constant(term.fill, dtype))
            continue
        if term.factor == -1.0:
            value = b.neg(value)
        elif term.factor != 1.0:
            value = b.mul(value, term.factor)
        one = build(b, value, steps)
        made = one if made is None else b.add(made, one)
    return made


def _offset(b: Builder, offset: Offset) -> Value | None:
    static = offset.static
    made = b.dim_size(size=static, dtype=i64) if isinstance(static, Dim) else static
    if offset.dynamic is None:
        return None if static == 0 else made if isinstance(made, Value) else b.constant(made, i64)
    if static == 0:
        return offset.dynamic
    dynamic = offset.dynamic if offset.dynamic.dtype == i64 else b.cast(offset.dynamic, dtype=i64)
    total: Value = b.add(dynamic, made)
    return total
