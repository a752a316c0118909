"""From a softmax back to the product of queries and keys, with all scales, biases and masks on the way."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from passes.attention.axes import Axes, Axis, View, aligned, beneath, is_view, resolve
from passes.attention.conditions import Leaf, number
from passes.attention.contractions import factors
from passes.attention.form import Factor, Masked, MatchFailure, Term
from tgraph.ir.analysis import is_prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value

LONGEST = 24  # nodes between the products; no spelling has as many


@dataclass(frozen=True)
class Scores:
    """The way back from softmax so far: everything that happens after what is looked at next."""

    nodes: tuple[Node, ...]
    scale: float = 1.0
    changes: tuple[Term | Masked, ...] = ()
    factors: tuple[Factor, ...] = ()
    terms: tuple[Term | Masked, ...] = ()  # of all changes, those that are bias, and
    conditions: tuple[Leaf, ...] = ()  # those that are masks, which
    fill: float | None = None  # give this to what they exclude
    query: View | None = None
    key: View | None = None
    inner: Axis = ()


@dataclass(frozen=True)
class ScoresMatcher:
    """What a match looks at: fills up to `mask_fill`, and added terms up to `additive` (none: -inf only), are masks."""

    graph: Graph
    parameter_only: Collection[Node]
    mask_fill: float
    additive: float | None
    keys: Axis


def follow_back(m: ScoresMatcher, value: Value, axes: Axes, state: Scores) -> Scores:
    """Follow the scores from softmax to the product that makes them."""
    last, matched = state.nodes[-1], len(state.nodes)
    if not isinstance(value, Result):
        raise MatchFailure("the scores are no product of queries and keys", last, matched)
    node = value.node
    _only_reader(m.graph, value, last, matched)
    if matched > LONGEST:
        raise MatchFailure(f"more than {LONGEST} nodes lie between the product and softmax", node, matched)
    state = replace(state, nodes=(*state.nodes, node))
    if node.op.contract is not None:
        return _product(m, node, axes, state)
    if is_view(node):
        inner = beneath(m.graph, View(value, axes))
        if inner is None:
            raise MatchFailure("a reshape of the scores cuts through an axis", node, matched)
        return follow_back(m, inner.value, inner.axes, state)
    if node.op.name == "cast":
        if not node.inputs[0].dtype.is_float or node.inputs[0].dtype.bits > value.dtype.bits:
            raise MatchFailure("the scores lose digits in a cast", node, matched)
        return follow_back(m, node.inputs[0], axes, state)
    if (scaled := scaled_by(node)) is not None:
        x, factor = scaled
        return follow_back(m, x, aligned(x, axes).axes, replace(state, scale=state.scale * factor))
    if node.op.name in ("mul", "div") and (position := _scores_among(m, node, axes)) is not None:
        fed = Factor(aligned(node.inputs[1 - position], axes), divides=node.op.name == "div")
        x = node.inputs[position]
        return follow_back(m, x, aligned(x, axes).axes, replace(state, factors=(*state.factors, fed)))
    if node.op.name in ("add", "sub"):
        return _add(m, node, axes, state)
    if node.op.name == "where":
        return _masked(m, node, axes, state)
    raise MatchFailure(f"the scores come from {node.op.name}", node, matched)


def _scores_among(m: ScoresMatcher, node: Node, axes: Axes) -> int | None:
    """Which operand of a product or quotient is the scores, the other one being the same for all keys."""
    wanted = set(resolve(m.keys))
    for position in (0, 1) if node.op.name == "mul" else (0,):
        x, other = node.inputs[position], node.inputs[1 - position]
        if wanted and x.shape == node.result.shape and not wanted & set(aligned(other, axes).atoms):
            return position
    return None


def _product(m: ScoresMatcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """The factors of the scores; softmax goes over the axis of keys, which is the key's alone."""
    matched, wanted = len(state.nodes), set(resolve(m.keys))
    try:
        x, y, inner = factors(m.graph, node, axes)
    except MatchFailure as refused:
        raise MatchFailure(refused.reason, node, matched) from None
    has_x, has_y = bool(wanted & set(x.atoms)), bool(wanted & set(y.atoms))
    if has_x == has_y or not wanted <= set((x if has_x else y).atoms):
        raise MatchFailure("softmax goes over an axis that is not one of keys", node, matched)
    query, key = (y, x) if has_x else (x, y)
    if is_prepared(key.value, m.parameter_only):
        raise MatchFailure("k is known before any input: a product with a weight", node, matched)
    return replace(state, query=query, key=key, inner=inner)


def _add(m: ScoresMatcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """scores + bias, on whichever side the scores are."""
    if state.factors:
        raise MatchFailure("a bias is added before a scale that only a run knows", node, len(state.nodes))
    sides = [(0, 1), (1, 0)] if node.op.name == "add" else [(0, 1)]
    nearest: MatchFailure | None = None
    for position, other in sides:
        x, bias = node.inputs[position], node.inputs[other]
        term = Term(aligned(bias, axes), state.scale if node.op.name == "add" else -state.scale)
        try:
            return follow_back(m, x, aligned(x, axes).axes, replace(state, changes=(*state.changes, term)))
        except MatchFailure as refused:
            nearest = refused if nearest is None or refused.matched > nearest.matched else nearest
    assert nearest is not None
    raise nearest


def _masked(m: ScoresMatcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """where(allowed, scores, fill), or the other way round."""
    matched = len(state.nodes)
    for position in (1, 2):
        fill = number(node.inputs[3 - position])
        if fill is not None:
            scores, negated = node.inputs[position], position == 2
            break
    else:
        raise MatchFailure("scores are replaced by something that is no constant", node, matched)
    if state.factors:
        raise MatchFailure("masked scores are multiplied by what only a run knows, and may turn their sign", node, matched)
    if not state.scale > 0:
        raise MatchFailure(f"masked scores are multiplied by {state.scale}", node, matched)
    fill = fill * state.scale
    if not fill <= m.mask_fill and (m.additive is None or not fill <= m.additive):
        reason = f"masked scores become {fill:g}, not {m.mask_fill:g} or less; finite-mask takes it as a mask"
        raise MatchFailure(reason, node, matched)
    masked = Masked(Leaf.of(aligned(node.inputs[0], axes), negated), fill)
    return follow_back(m, scores, aligned(scores, axes).axes, replace(state, changes=(*state.changes, masked)))


def scaled_by(node: Node) -> tuple[Value, float] | None:
    """x and c of x * c or x / c."""
    if node.op.name == "mul":
        for x, y in (node.inputs, node.inputs[::-1]):
            factor = number(y)
            if factor is not None and math.isfinite(factor) and x.shape == node.result.shape:
                return x, factor
    if node.op.name == "div":
        divisor = number(node.inputs[1])
        if divisor and math.isfinite(divisor) and node.inputs[0].shape == node.result.shape:
            return node.inputs[0], 1 / divisor
    return None


def _only_reader(graph: Graph, value: Result, reader: Node, matched: int) -> None:
    other = next((u for u in value.users if u is not reader), None)
    if other is not None:
        raise MatchFailure(f"the result of {value.node.op.name} is also read by {other.op.name}", value.node, matched)
    if graph.is_output(value):
        raise MatchFailure(f"the result of {value.node.op.name} is an output", value.node, matched)
