"""Following attention scores from the softmax back to the product of q and k, with all scales, biases and masks on the way."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from passes.attention.axes import Axes, Axis, View, aligned, is_view, resolve, view_operand
from passes.attention.conditions import Leaf, number
from passes.attention.contractions import product_operands
from passes.attention.failure import MatchFailure
from passes.attention.form import DynamicScale, Masked, Term
from tgraph.ir.analysis import is_prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value

LONGEST = 24  # nodes between the products; no variant has as many


@dataclass(frozen=True)
class Scores:
    """What is known of the scores so far: all that happens to them between the value looked at next and the softmax."""

    nodes: tuple[Node, ...]  # from the softmax back
    scale: float = 1.0
    softcap: float = 0.0  # 0: the scores are not capped
    changes: tuple[Term | Masked, ...] = ()  # added terms and selections, the last one first
    dynamic_scales: tuple[DynamicScale, ...] = ()
    # found with the product
    query: View | None = None
    key: View | None = None
    inner: Axis = ()
    # what `masking.settle` makes of the changes
    terms: tuple[Term | Masked, ...] = ()  # those that are bias
    conditions: tuple[Leaf, ...] = ()  # of those that are masks
    fill: float | None = None  # what scores become where a condition does not hold


@dataclass(frozen=True)
class ScoresMatcher:
    """What a match looks at: fills up to `mask_fill`, and added terms up to `additive` (none: -inf only), are masks."""

    graph: Graph
    parameter_only: Collection[Node]
    mask_fill: float
    additive: float | None
    keys: Axis


def follow_back(m: ScoresMatcher, value: Value, axes: Axes, state: Scores) -> Scores:
    """Follow the scores from `value`, with the given axes, back to the product of q and k, through one node a call.

    Raises MatchFailure at the first node that `attention` cannot express.
    """
    matched = len(state.nodes)
    node = _producer(m.graph, value, state.nodes[-1], matched)
    state = replace(state, nodes=(*state.nodes, node))
    if node.op.contract is not None:
        return _product(m, node, axes, state)
    if node.op.name in ("add", "sub"):
        return _add(m, node, axes, state)
    if node.op.name == "where":
        return _masked(m, node, axes, state)
    if is_view(node):
        operand = view_operand(m.graph, View(value, axes))
        if operand is None:
            raise MatchFailure("a reshape of the scores cuts through an axis", node, matched)
    elif node.op.name == "cast":
        operand = View(node.inputs[0], axes)
        if not operand.value.dtype.is_float or operand.value.dtype.bits > value.dtype.bits:
            raise MatchFailure("the scores lose digits in a cast", node, matched)
    elif node.op.name == "tanh":
        operand = View(node.inputs[0], axes)
        state = _capped(node, state)
    elif (constant := scaled_by(node)) is not None:
        operand = aligned(constant[0], axes)
        state = replace(state, scale=state.scale * constant[1])
    elif (dynamic := _dynamic_scale(m, node, axes)) is not None:
        if state.softcap:  # on q, a large one would make of what terms of a score lose in rounding as much as the cap
            raise MatchFailure("scores are multiplied by what only a run knows before they are capped", node, matched)
        operand = dynamic[0]
        state = replace(state, dynamic_scales=(*state.dynamic_scales, dynamic[1]))
    else:
        raise MatchFailure(f"the scores come from {node.op.name}", node, matched)
    return follow_back(m, operand.value, operand.axes, state)


def _follow_operand(m: ScoresMatcher, x: Value, axes: Axes, state: Scores) -> Scores:
    """Follow the scores back through an operand of an elementwise node whose result has the given axes."""
    return follow_back(m, x, aligned(x, axes).axes, state)


def _producer(graph: Graph, value: Value, reader: Node, matched: int) -> Node:
    """The node that computes the scores for `reader`. Raises MatchFailure if something else reads them, too."""
    if not isinstance(value, Result):
        raise MatchFailure("the scores are no product of queries and keys", reader, matched)
    node = value.node
    other = next((u for u in value.users if u is not reader), None)
    if other is not None:
        raise MatchFailure(f"the result of {node.op.name} is also read by {other.op.name}", node, matched)
    if graph.is_output(value):
        raise MatchFailure(f"the result of {node.op.name} is an output", node, matched)
    if matched > LONGEST:
        raise MatchFailure(f"more than {LONGEST} nodes lie between the product and softmax", node, matched)
    return node


def _capped(node: Node, state: Scores) -> Scores:
    """The scores with the cap c of c tanh(scores / c): the scale so far, which goes on as that of the scores beneath.

    c tanh(x) = |c| tanh(c x / |c|), so c may be negative.
    """
    matched = len(state.nodes)
    if state.softcap:
        raise MatchFailure("the scores are capped twice", node, matched)
    if state.dynamic_scales:
        raise MatchFailure("capped scores are multiplied by what only a run knows", node, matched)
    if not state.scale:
        raise MatchFailure("capped scores are multiplied by 0", node, matched)
    return replace(state, softcap=abs(state.scale))


def _dynamic_scale(m: ScoresMatcher, node: Node, axes: Axes) -> tuple[View, DynamicScale] | None:
    """The scores, and the tensor by which a `mul` or `div` scales them, if that is the same for all keys; else None."""
    keys = set(resolve(m.keys))
    for position in {"mul": (0, 1), "div": (0,)}.get(node.op.name, ()):
        x, scale = node.inputs[position], aligned(node.inputs[1 - position], axes)
        if keys and x.shape == node.result.shape and not keys & set(scale.factors):
            return aligned(x, axes), DynamicScale(scale, divides=node.op.name == "div")
    return None


def _product(m: ScoresMatcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """The end of the way: q and k of the product, told apart by the axis that softmax goes over, which only k has."""
    matched, wanted = len(state.nodes), set(resolve(m.keys))
    try:
        x, y, inner = product_operands(node, axes)
    except MatchFailure as failure:
        raise MatchFailure(failure.reason, node, matched) from None
    has_x, has_y = bool(wanted & set(x.factors)), bool(wanted & set(y.factors))
    if has_x == has_y or not wanted <= set((x if has_x else y).factors):
        raise MatchFailure("softmax goes over an axis that is not one of keys", node, matched)
    query, key = (y, x) if has_x else (x, y)
    if is_prepared(key.value, m.parameter_only):
        raise MatchFailure("k is known before any input: a product with a weight", node, matched)
    return replace(state, query=query, key=key, inner=inner)


def _add(m: ScoresMatcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """scores + bias, scores - bias or bias - scores: either operand is tried as the scores."""
    if state.softcap:
        raise MatchFailure("a bias is added to the scores before they are capped", node, len(state.nodes))
    if state.dynamic_scales:
        raise MatchFailure("a bias is added before a scale that only a run knows", node, len(state.nodes))
    signs = (1, 1 if node.op.name == "add" else -1)
    nearest: MatchFailure | None = None
    for position, other in ((0, 1), (1, 0)):
        term = Term(aligned(node.inputs[other], axes), state.scale * signs[other])
        beneath = replace(state, scale=state.scale * signs[position], changes=(*state.changes, term))
        try:
            return _follow_operand(m, node.inputs[position], axes, beneath)
        except MatchFailure as failure:
            nearest = failure if nearest is None or failure.matched > nearest.matched else nearest
    assert nearest is not None
    raise nearest


def _masked(m: ScoresMatcher, node: Node, axes: Axes, state: Scores) -> Scores:
    """where(allowed, scores, fill) or where(excluded, fill, scores), with a fill so low that it is a mask."""
    matched = len(state.nodes)
    if state.softcap:
        raise MatchFailure("scores are masked before they are capped, which lets excluded keys in again", node, matched)
    for position in (1, 2):
        fill = number(node.inputs[3 - position])
        if fill is not None:
            scores, negated = node.inputs[position], position == 2
            break
    else:
        raise MatchFailure("scores are replaced by something that is no constant", node, matched)
    if state.dynamic_scales:
        raise MatchFailure("masked scores are multiplied by what only a run knows, and may turn their sign", node, matched)
    if not state.scale > 0:
        raise MatchFailure(f"masked scores are multiplied by {state.scale}", node, matched)
    fill = fill * state.scale
    if not fill <= m.mask_fill and (m.additive is None or not fill <= m.additive):
        reason = f"masked scores become {fill:g}, not {m.mask_fill:g} or less; finite-mask takes it as a mask"
        raise MatchFailure(reason, node, matched)
    masked = Masked(Leaf.of(aligned(node.inputs[0], axes), negated), fill)
    return _follow_operand(m, scores, axes, replace(state, changes=(*state.changes, masked)))


def scaled_by(node: Node) -> tuple[Value, float] | None:
    """x and the constant c of a node x * c, x and 1 / c of x / c, or x and -1 of -x, that leaves the shape of x; else None."""
    if node.op.name == "neg":
        return node.inputs[0], -1.0
    if node.op.name == "mul":
        for x, y in (node.inputs, node.inputs[::-1]):
            scale = number(y)
            if scale is not None and math.isfinite(scale) and x.shape == node.result.shape:
                return x, scale
    if node.op.name == "div":
        divisor = number(node.inputs[1])
        if divisor and math.isfinite(divisor) and node.inputs[0].shape == node.result.shape:
            return node.inputs[0], 1 / divisor
    return None
