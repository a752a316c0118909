"""Deciding which changes of attention scores become the op's mask, and which its bias.

Selections with a finite fill, and added terms that are 0 or such a fill, become the mask only if a query without any key left
then has equal weights, which the op calls `empty_row="uniform"`. So there must be one fill, so low that scores added to it are
lost in rounding, and no term beside it that may be as low. All else becomes part of the bias, which can express any finite fill.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from passes.algebra.magnitudes import may_exceed
from passes.attention.axes import Axes, View, aligned, view_root
from passes.attention.conditions import Leaf, conjuncts, number
from passes.attention.failure import MatchFailure
from passes.attention.form import Masked, Term
from passes.attention.scores import Scores, ScoresMatcher
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Result, Value

LARGEST_TERM = 1e6  # is lost beside a fill of -1e30, as scores are


def settle(m: ScoresMatcher, state: Scores) -> Scores:
    """Sort the changes into terms, conditions and their fill. Raises MatchFailure if neither mask nor bias can express them."""
    state = replace(state, changes=apart(m, tuple(c for c in state.changes if not is_zero(m.graph, c))))
    found = _all_low_fills(m, state) if m.additive is not None else _as_masks(m, state)
    if found is None:
        _check_bias(m, state)
        return replace(state, terms=state.changes)
    terms, masks, fill = found
    conditions: list[Leaf] = []
    for condition in masks:
        parts = conjuncts(m.graph, condition.view, condition.negated)
        conditions += parts if len(parts) <= 1 else [condition]
    return replace(state, terms=tuple(terms), conditions=tuple(conditions), fill=fill)


Settled = tuple[list[Term], list[Leaf], "float | None"]  # terms, conditions, fill


def _as_masks(m: ScoresMatcher, state: Scores) -> Settled | None:
    """All selections as the op's mask; None if it cannot express them."""
    changes = state.changes
    masks = [c for c in changes if isinstance(c, Masked)]
    added = {i: found for i, c in enumerate(changes) if isinstance(c, Term) and (found := added_mask(m, c)) is not None}
    fills = {c.fill for c in masks} or {f for _, f in added.values() if f == -math.inf} or {f for _, f in added.values()}
    if len(fills) > 1:
        return None
    fill = fills.pop() if fills else None
    taken = [i for i, (_, f) in added.items() if f == fill]
    terms = [c for i, c in enumerate(changes) if isinstance(c, Term) and i not in taken]
    if fill is not None and math.isfinite(fill):
        outermost = max((i for i, c in enumerate(changes) if isinstance(c, Masked)), default=-1)
        twice_as_low = len(taken) > 1 or any(i < outermost for i in taken)
        if twice_as_low or not all(is_moderate(term) for term in terms):
            return None
    conditions = [c.condition if isinstance(c, Masked) else added[i][0] for i, c in enumerate(changes)
                  if i in taken or isinstance(c, Masked)]
    return terms, conditions, fill


def _all_low_fills(m: ScoresMatcher, state: Scores) -> Settled:
    """All selections and all low added terms as the op's mask, as `additive` asks, whatever rows without keys were."""
    terms: list[Term] = []
    conditions: list[Leaf] = []
    fill: float | None = None
    for change in state.changes:
        found = (change.condition, change.fill) if isinstance(change, Masked) else added_mask(m, change)
        if found is None:
            assert isinstance(change, Term)
            terms.append(change)
            continue
        if fill is not None and found[1] != fill:
            raise MatchFailure(f"two masks fill with {fill:g} and {found[1]:g}", state.nodes[-1], len(state.nodes))
        if found[1] != -math.inf and not all(is_moderate(term) for term in terms):
            raise MatchFailure("a bias is added after the mask, and may outweigh it", state.nodes[-1], len(state.nodes))
        conditions.append(found[0])
        fill = found[1]
    return terms, conditions, fill


def is_zero(graph: Graph, change: Term | Masked) -> bool:
    """Whether a change adds nothing but zeros."""
    return isinstance(change, Term) and number(view_root(graph, change.view).value) == 0


def apart(m: ScoresMatcher, changes: tuple[Term | Masked, ...]) -> tuple[Term | Masked, ...]:
    """The changes with a term where(c, b, fill) as the term b within a selection by c, if b and no other change may be as low.

    Scores are lost beside the fill, so that s + where(c, b, fill) = where(c, s + b, fill).
    """
    found = [(i, split) for i, c in enumerate(changes) if isinstance(c, Term) and (split := _selected(m, c)) is not None]
    if len(found) != 1:
        return changes
    (at, (selection, term)), = found
    others = (*changes[:at], *changes[at + 1:])
    if any(isinstance(c, Masked) or not is_moderate(c) for c in (*others, *([term] if math.isfinite(selection.fill) else []))):
        return changes
    return (selection, *changes[:at], term, *changes[at + 1:])


def _selected(m: ScoresMatcher, term: Term) -> tuple[Masked, Term] | None:
    """An added term where(c, b, fill) as its selection and b, if the fill counts as a mask and b is no number; else None."""
    bias = view_root(m.graph, term.view)
    if not isinstance(bias.value, Result) or bias.value.node.op.name != "where" or not term.scale > 0:
        return None
    node = bias.value.node
    for position, negated in ((1, False), (2, True)):
        kept, fill = node.inputs[position], number(node.inputs[3 - position])
        if fill is not None and fill * term.scale <= m.mask_fill and number(kept) is None:
            condition = Leaf.of(aligned(node.inputs[0], bias.axes), negated)
            return Masked(condition, fill * term.scale), Term(aligned(kept, bias.axes), term.scale)
    return None


def is_moderate(term: Term) -> bool:
    """Whether a term is lost in rounding when it is added to the fill of a mask."""
    return not may_exceed(term.view.value, LARGEST_TERM / max(abs(term.scale), 1e-300))


def _check_bias(m: ScoresMatcher, state: Scores) -> None:
    """Raise MatchFailure if a bias cannot express all changes of the scores."""
    assert state.query is not None
    dtype, at, matched = state.query.value.dtype, state.nodes[-1], len(state.nodes)
    filled = [i for i, c in enumerate(state.changes) if isinstance(c, Masked) and math.isfinite(c.fill)]
    for i, change in enumerate(state.changes):
        if isinstance(change, Masked):
            if i in filled and not _holds(dtype.numpy, change.fill):
                raise MatchFailure(f"a mask fills with {change.fill:g}, which a bias of {dtype} cannot hold", at, matched)
        elif any(i < inner for inner in filled) and added_mask(m, change) is None and not is_moderate(change):
            raise MatchFailure("a bias is added after the mask, and may outweigh it", at, matched)


def _holds(dtype: np.dtype, number: float) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.asarray(number).astype(dtype).astype(np.float64)))


def added_mask(m: ScoresMatcher, term: Term) -> tuple[Leaf, float] | None:
    """The condition c and the fill of an added term where(c, 0, fill), if the fill counts as a mask; else None.

    With `m.additive` also those of (1 - c) fill, where c was cast from a boolean.
    """
    bias, scale = view_root(m.graph, term.view), term.scale
    lowest = m.mask_fill if m.additive is None else m.additive
    if not scale > 0:
        return None
    if isinstance(bias.value, Constant):
        return _constant_mask(m.graph, bias.value, bias.axes, lowest / scale, scale)
    if not isinstance(bias.value, Result):
        return None
    node = bias.value.node
    if node.op.name == "where":
        for position, negated in ((1, False), (2, True)):
            kept, filled = number(node.inputs[position]), number(node.inputs[3 - position])
            if kept == 0 and filled is not None and filled * scale <= lowest:
                return Leaf.of(aligned(node.inputs[0], bias.axes), negated), filled * scale
    if m.additive is not None and node.op.name == "mul":
        for x, y in (node.inputs, node.inputs[::-1]):
            fill, ones = number(y), _complement(m, aligned(x, bias.axes))
            if fill is not None and ones is not None and math.isfinite(fill):
                leaf, sign = ones
                if sign * fill * scale <= lowest:
                    return leaf, sign * fill * scale
    return None


def _constant_mask(graph: Graph, constant: Constant, axes: Axes, lowest: float, scale: float) -> tuple[Leaf, float] | None:
    """The condition and the fill of a table of zeros and a number up to `lowest`; None for other constants."""
    data = constant.data
    if data is None or not data.size or not constant.dtype.is_float:
        return None
    fill = float(data.min())
    if not fill <= lowest or not np.isin(data, (0, fill)).all():
        return None
    kept, own = data == 0, list(axes)
    for axis in range(kept.ndim):  # the same for all of a batch: then it may be causality
        first = kept.take([0], axis)
        if kept.shape[axis] > 1 and (kept == first).all():
            kept, own[axis] = first, ()
    return Leaf.of(View(graph.constant(kept), tuple(own))), fill * scale


def _complement(m: ScoresMatcher, view: View) -> tuple[Leaf, int] | None:
    """The condition c of 1 - c (then the sign is 1) or c - 1 (-1), where c was cast from a boolean; None for other values."""
    view = view_root(m.graph, view)
    if not isinstance(view.value, Result):
        return None
    node = view.value.node
    if node.op.name == "cast" and node.inputs[0].dtype.is_bool:
        return Leaf.of(View(node.inputs[0], view.axes), True), 1
    pairs: list[tuple[Value, int]] = []
    if node.op.name == "sub" and number(node.inputs[0]) == 1:
        pairs.append((node.inputs[1], 1))
    elif node.op.name == "sub" and number(node.inputs[1]) == 1:
        pairs.append((node.inputs[0], -1))
    elif node.op.name == "add":
        for x, y in (node.inputs, node.inputs[::-1]):
            if number(y) == -1:
                pairs.append((x, -1))
            elif number(y) == 1 and isinstance(x, Result) and x.node.op.name == "neg":
                pairs.append((x.node.inputs[0], 1))
    for x, sign in pairs:
        ones = view_root(m.graph, aligned(x, view.axes))
        cast = ones.value.node if isinstance(ones.value, Result) else None
        if cast is not None and cast.op.name == "cast" and cast.inputs[0].dtype.is_bool:
            return Leaf.of(View(cast.inputs[0], ones.axes), False), sign
    return None
