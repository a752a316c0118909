"""From a softmax back to the product of queries and keys, with all scales, biases and masks on the way."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from passes.attention.axes import VIEWS, Axes, Axis, View, aligned, beneath, resolve
from passes.attention.conditions import Leaf, conjuncts, number
from passes.attention.contractions import factors
from passes.attention.form import Factor, Refused, Term
from tgraph.ir.analysis import is_prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Result, Value

PRODUCTS = frozenset({"matmul", "einsum", "linear"})
LONGEST = 24  # nodes between the products; no spelling has as many


@dataclass(frozen=True)
class Scores:
    """The way back from softmax so far: everything that happens after what is looked at next."""

    nodes: tuple[Node, ...]
    scale: float = 1.0
    terms: tuple[Term, ...] = ()
    conditions: tuple[Leaf, ...] = ()
    fill: float | None = None
    factors: tuple[Factor, ...] = ()
    query: View | None = None
    key: View | None = None
    inner: Axis = ()


@dataclass(frozen=True)
class Matcher:
    """What a match looks at: fills up to `mask_fill`, and added terms up to `additive` (none: -inf only), are masks."""

    graph: Graph
    ready: Collection[Node]
    mask_fill: float
    additive: float | None
    keys: Axis


def follow_back(m: Matcher, value: Value, axes: Axes, state: Scores) -> Scores:
    """Follow the scores from softmax to the product that makes them."""
    last, matched = state.nodes[-1], len(state.nodes)
    if not isinstance(value, Result):
        raise Refused("the scores are no product of queries and keys", last, matched)
    node = value.node
    _only_reader(m.graph, value, last, matched)
    if matched > LONGEST:
        raise Refused(f"more than {LONGEST} nodes lie between the product and softmax", node, matched)
    state = replace(state, nodes=(*state.nodes, node))
    if node.op.name in PRODUCTS:
        return _product(m, node, axes, state)
    if node.op.name in VIEWS:
        inner = beneath(m.graph, View(value, axes))
        if inner is None:
            raise Refused("a reshape of the scores cuts through an axis", node, matched)
        return follow_back(m, inner.value, inner.axes, state)
    if node.op.name == "cast":
        if not node.inputs[0].dtype.is_float or node.inputs[0].dtype.bits > value.dtype.bits:
            raise Refused("the scores lose digits in a cast", node, matched)
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
    raise Refused(f"the scores come from {node.op.name}", node, matched)


def _scores_among(m: Matcher, node: Node, axes: Axes) -> int | None:
    """Which operand of a product or quotient is the scores, the other one being the same for all keys."""
    wanted = set(resolve(m.keys))
    for position in (0, 1) if node.op.name == "mul" else (0,):
        x, other = node.inputs[position], node.inputs[1 - position]
        if wanted and x.shape == node.result.shape and not wanted & set(aligned(other, axes).atoms):
            return position
    return None


def _product(m: Matcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """The factors of the scores; softmax goes over the axis of keys, which is the key's alone."""
    matched, wanted = len(state.nodes), set(resolve(m.keys))
    try:
        x, y, inner = factors(m.graph, node, axes)
    except Refused as refused:
        raise Refused(refused.reason, node, matched) from None
    has_x, has_y = bool(wanted & set(x.atoms)), bool(wanted & set(y.atoms))
    if has_x == has_y or not wanted <= set((x if has_x else y).atoms):
        raise Refused("softmax goes over an axis that is not one of keys", node, matched)
    query, key = (y, x) if has_x else (x, y)
    if is_prepared(key.value, m.ready):
        raise Refused("k is known before any input: a product with a weight", node, matched)
    return replace(state, query=query, key=key, inner=inner)


def _add(m: Matcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """scores + bias, on whichever side the scores are."""
    if state.factors:
        raise Refused("a bias is added before a scale that only a run knows", node, len(state.nodes))
    sides = [(0, 1), (1, 0)] if node.op.name == "add" else [(0, 1)]
    nearest: Refused | None = None
    for position, other in sides:
        x, bias = node.inputs[position], node.inputs[other]
        factor = state.scale if node.op.name == "add" else -state.scale
        try:
            return follow_back(m, x, aligned(x, axes).axes, _with_term(m, aligned(bias, axes), factor, state))
        except Refused as refused:
            nearest = refused if nearest is None or refused.matched > nearest.matched else nearest
    assert nearest is not None
    raise nearest


def _with_term(m: Matcher, bias: View, factor: float, state: Scores) -> Scores:
    """Add a term; one that is 0 or the lowest where a condition says so is that condition."""
    masked = added_mask(m, bias, factor)
    if masked is None:
        return replace(state, terms=(*state.terms, Term(bias, factor)))
    condition, fill = masked
    return _with_condition(m, condition, fill, state)


def added_mask(m: Matcher, bias: View, factor: float) -> tuple[Leaf, float] | None:
    """where(c, 0, -inf), which is exactly a mask; with `additive` also finite fills, and (1 - c) fill."""
    inner: View | None = bias
    while inner is not None:
        bias, inner = inner, beneath(m.graph, inner)
    if not isinstance(bias.value, Result) or not factor > 0:
        return None
    node = bias.value.node
    lowest = -math.inf if m.additive is None else m.additive
    if node.op.name == "where":
        for position, negated in ((1, False), (2, True)):
            kept, filled = number(node.inputs[position]), number(node.inputs[3 - position])
            if kept == 0 and filled is not None and filled * factor <= lowest:
                return Leaf.of(aligned(node.inputs[0], bias.axes), negated), filled * factor
    if m.additive is not None and node.op.name == "mul":
        for x, y in (node.inputs, node.inputs[::-1]):
            fill, ones = number(y), _complement(m, aligned(x, bias.axes))
            if fill is not None and ones is not None and math.isfinite(fill):
                leaf, sign = ones
                if sign * fill * factor <= lowest:
                    return leaf, sign * fill * factor
    return None


def _complement(m: Matcher, view: View) -> tuple[Leaf, int] | None:
    """1 - c or c - 1 of a condition c (or of ones and zeros cast from it), and the sign."""
    inner: View | None = view
    while inner is not None:
        view, inner = inner, beneath(m.graph, inner)
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
        ones: View | None = aligned(x, view.axes)
        while ones is not None:
            view, ones = ones, beneath(m.graph, ones)
        cast = view.value.node if isinstance(view.value, Result) else None
        if cast is not None and cast.op.name == "cast" and cast.inputs[0].dtype.is_bool:
            return Leaf.of(View(cast.inputs[0], view.axes), False), sign
    return None


def _masked(m: Matcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """where(allowed, scores, fill), or the other way round."""
    matched = len(state.nodes)
    for position in (1, 2):
        fill = number(node.inputs[3 - position])
        if fill is not None:
            scores, negated = node.inputs[position], position == 2
            break
    else:
        raise Refused("scores are replaced by something that is no constant", node, matched)
    if state.factors:
        raise Refused("masked scores are multiplied by what only a run knows, and may turn their sign", node, matched)
    if not state.scale > 0:
        raise Refused(f"masked scores are multiplied by {state.scale}", node, matched)
    condition = aligned(node.inputs[0], axes)
    state = _with_condition(m, Leaf.of(condition, negated), fill * state.scale, state, node)
    return follow_back(m, scores, aligned(scores, axes).axes, state)


def _with_condition(m: Matcher, condition: Leaf, fill: float, state: Scores, at: Node | None = None) -> Scores:
    at, matched = at or state.nodes[-1], len(state.nodes)
    if not fill <= m.mask_fill and (m.additive is None or not fill <= m.additive):
        reason = f"masked scores become {fill:g}, not {m.mask_fill:g} or less; finite-mask takes it as a mask"
        raise Refused(reason, at, matched)
    if state.fill is not None and state.fill != fill:
        raise Refused(f"two masks fill with {state.fill:g} and {fill:g}", at, matched)
    if fill != -math.inf and not all(_is_small(term) for term in state.terms):
        raise Refused("a bias is added after the mask, and may outweigh it", at, matched)
    root = conjuncts(m.graph, condition.view, condition.negated)
    kept = root if len(root) == 1 else [condition]
    return replace(state, conditions=(*state.conditions, *kept), fill=fill)


def _is_small(term: Term) -> bool:
    """Whether a term disappears beside the fill of a mask."""
    value = term.view.value
    if not isinstance(value, Constant) or value.data is None:
        return False
    return bool(np.abs(value.data.astype(np.float64) * term.factor).max(initial=0) <= 1e6)


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
        raise Refused(f"the result of {value.node.op.name} is also read by {other.op.name}", value.node, matched)
    if graph.is_output(value):
        raise Refused(f"the result of {value.node.op.name} is an output", value.node, matched)
