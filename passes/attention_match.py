"""From a softmax back to the product of queries and keys, and on to the product with the values."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from passes.attention_form import Form, Refused, Term
from passes.axes import VIEWS, Axes, Axis, View, above, aligned, beneath, flat, fresh, resolve
from passes.conditions import Leaf, conjuncts, number, some_key
from passes.contractions import factors, other_factor
from tgraph.ir.analysis import is_prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Result, Value

PRODUCTS = frozenset({"matmul", "einsum", "linear"})
LONGEST = 24  # nodes between the products; no spelling has as many


@dataclass(frozen=True)
class _Scores:
    """The way back from softmax so far: everything that happens after what is looked at next."""

    nodes: tuple[Node, ...]
    scale: float = 1.0
    terms: tuple[Term, ...] = ()
    conditions: tuple[Leaf, ...] = ()
    fill: float | None = None
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


def match(graph: Graph, softmax: Node, ready: Collection[Node], mask_fill: float, additive: float | None) -> Form:
    """The attention that a softmax is the middle of. Raises Refused with the reason if it is none."""
    axes = fresh(softmax.result.shape)
    keys = axes[softmax.attrs["axis"]]
    matcher = Matcher(graph, ready, mask_fill, additive, keys)
    scores = _back(matcher, softmax.inputs[0], axes, _Scores((softmax,)))
    assert scores.query is not None and scores.key is not None
    query, key = peel(graph, scores.query), peel(graph, scores.key)
    output = _Forward(matcher, scores, axes, keys)
    output.walk(softmax)
    nodes = (*reversed(scores.nodes), *output.nodes)
    scale = scores.scale * query.factor * key.factor
    form = Form(axes, keys, scores.inner, query.view, key.view, output.value, output.output, scale, scores.terms,
                scores.conditions, output.empty_row, (*query.nodes, *key.nodes, *nodes))
    _check(matcher, form)
    return form


def _back(m: Matcher, value: Value, axes: Axes, state: _Scores) -> _Scores:
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
        return _back(m, inner.value, inner.axes, state)
    if node.op.name == "cast":
        if not node.inputs[0].dtype.is_float or node.inputs[0].dtype.bits > value.dtype.bits:
            raise Refused("the scores lose digits in a cast", node, matched)
        return _back(m, node.inputs[0], axes, state)
    if (scaled := _scaled(node)) is not None:
        x, factor = scaled
        return _back(m, x, aligned(x, axes).axes, replace(state, scale=state.scale * factor))
    if node.op.name in ("add", "sub"):
        return _add(m, node, axes, state)
    if node.op.name == "where":
        return _masked(m, node, axes, state)
    raise Refused(f"the scores come from {node.op.name}", node, matched)


def _product(m: Matcher, node: Node, axes: Axes, state: _Scores) -> _Scores:
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


def _add(m: Matcher, node: Node, axes: Axes, state: _Scores) -> _Scores:
    """scores + bias, on whichever side the scores are."""
    sides = [(0, 1), (1, 0)] if node.op.name == "add" else [(0, 1)]
    nearest: Refused | None = None
    for position, other in sides:
        x, bias = node.inputs[position], node.inputs[other]
        factor = state.scale if node.op.name == "add" else -state.scale
        try:
            return _back(m, x, aligned(x, axes).axes, _with_term(m, aligned(bias, axes), factor, state))
        except Refused as refused:
            nearest = refused if nearest is None or refused.matched > nearest.matched else nearest
    assert nearest is not None
    raise nearest


def _with_term(m: Matcher, bias: View, factor: float, state: _Scores) -> _Scores:
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
        if isinstance(view.value, Result) and view.value.node.op.name == "cast" and view.value.node.inputs[0].dtype.is_bool:
            return Leaf.of(View(view.value.node.inputs[0], view.axes), False), sign
    return None


def _masked(m: Matcher, node: Node, axes: Axes, state: _Scores) -> _Scores:
    """where(allowed, scores, fill), or the other way round."""
    matched = len(state.nodes)
    for position in (1, 2):
        fill = number(node.inputs[3 - position])
        if fill is not None:
            scores, negated = node.inputs[position], position == 2
            break
    else:
        raise Refused("scores are replaced by something that is no constant", node, matched)
    if not state.scale > 0:
        raise Refused(f"masked scores are multiplied by {state.scale}", node, matched)
    condition = aligned(node.inputs[0], axes)
    state = _with_condition(m, Leaf.of(condition, negated), fill * state.scale, state, node)
    return _back(m, scores, aligned(scores, axes).axes, state)


def _with_condition(m: Matcher, condition: Leaf, fill: float, state: _Scores, at: Node | None = None) -> _Scores:
    at, matched = at or state.nodes[-1], len(state.nodes)
    if not fill <= m.mask_fill and (m.additive is None or not fill <= m.additive):
        raise Refused(f"masked scores become {fill:g}, not {m.mask_fill:g} or less; finite-mask takes it as a mask", at, matched)
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


def _scaled(node: Node) -> tuple[Value, float] | None:
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


@dataclass(frozen=True)
class _Peeled:
    view: View
    factor: float
    nodes: tuple[Node, ...]


def peel(graph: Graph, view: View) -> _Peeled:
    """An operand without the constant factors on it, below whatever views they stand."""
    factor, path = 1.0, [view]
    nodes: tuple[Node, ...] = ()
    while True:
        current = path[-1]
        scaled = _scaled(current.value.node) if isinstance(current.value, Result) else None
        if scaled is not None and current.value.dtype.is_float:
            assert isinstance(current.value, Result)
            factor *= scaled[1]
            nodes = (*(v.value.node for v in path if isinstance(v.value, Result)), *nodes)
            path = [View(scaled[0], current.axes)]
            view = path[0]
        elif (inner := beneath(graph, current)) is not None:
            path.append(inner)
        else:
            return _Peeled(view, factor, nodes)


class _Forward:
    """The way from softmax on to the product with the values."""

    def __init__(self, m: Matcher, scores: _Scores, axes: Axes, keys: Axis):
        self.m, self.scores, self.axes, self.keys = m, scores, axes, keys
        self.nodes: list[Node] = []
        self.empty_row = "zero" if scores.fill is None else "nan" if scores.fill == -math.inf else "uniform"
        self.value: View
        self.output: View

    def walk(self, softmax: Node) -> None:
        """Follow the weights. Raises Refused where they are more than one product's operand."""
        weights, axes = softmax.result, self.axes
        matched = len(self.scores.nodes)
        while True:
            if self.m.graph.is_output(weights):
                raise Refused(f"the result of {weights.node.op.name} is an output", weights.node, matched)
            if len(weights.uses) != 1:
                raise Refused(f"the result of {weights.node.op.name} is read {len(weights.uses)} times", weights.node, matched)
            (node, position), = weights.uses
            self.nodes.append(node)
            matched += 1
            if node.op.name in PRODUCTS:
                self.value, out = other_factor(self.m.graph, node, position, axes, self.keys)
                self.output = View(node.result, out)
                return
            if node.op.name in VIEWS:
                moved = above(self.m.graph, node, axes)
                if moved is None:
                    raise Refused("a reshape of the weights cuts through an axis", node, matched)
                axes = moved
            elif node.op.name == "where":
                self._emptied(node, position, axes, matched)
            elif node.op.name != "cast" or not node.result.dtype.is_float or node.result.dtype.bits > weights.dtype.bits:
                raise Refused(f"the weights are read by {node.op.name}, not by a product", node, matched)
            weights = node.result

    def _emptied(self, node: Node, position: int, axes: Axes, matched: int) -> None:
        """where(some key is allowed, weights, filler), or where(allowed, weights, 0)."""
        if not self.scores.conditions or position == 0:
            raise Refused("weights are selected away without a mask", node, matched)
        filler, negated = number(node.inputs[3 - position]), position == 2
        if node.result.shape != node.inputs[position].shape:
            raise Refused("the selection widens the weights", node, matched)
        condition = aligned(node.inputs[0], axes)
        found = some_key(self.m.graph, condition, self.keys)
        if found is not None:
            over, inverted = found
            same = negated == inverted and self._same(over, False)
        else:
            same = filler == 0 and self._same(condition, negated)
        if not same:
            raise Refused("the weights are selected by another condition than the scores", node, matched)
        if filler == 0:
            self.empty_row = "zero"
        elif found is not None and self._is_mean(node.inputs[3 - position]):
            self.empty_row = "uniform"
        else:
            raise Refused("empty rows become neither zeros nor equal weights", node, matched)

    def _same(self, view: View, negated: bool) -> bool:
        given = {leaf.key for leaf in conjuncts(self.m.graph, view, negated)}
        used = {leaf.key for c in self.scores.conditions for leaf in conjuncts(self.m.graph, c.view, c.negated)}
        return given == used

    def _is_mean(self, filler: Value) -> bool:
        """1 / the number of keys."""
        keys = resolve(self.keys)
        if len(keys) != 1:
            return False
        size, found = keys[0].size, number(filler)
        if isinstance(size, int):
            return found is not None and abs(found * size - 1) < 1e-6
        while isinstance(filler, Result) and filler.node.op.name in VIEWS:
            filler = filler.node.inputs[0]
        if not isinstance(filler, Result):
            return False
        node = filler.node
        divisor = node.inputs[-1]
        one = node.op.name == "reciprocal" or (node.op.name == "div" and number(node.inputs[0]) == 1)
        return bool(one and isinstance(divisor, Result) and divisor.node.op.name == "dim_size"
                    and divisor.node.attrs["size"] == size)


def _check(m: Matcher, form: Form) -> None:
    """What the op asks of its operands, and what products with weights are not taken for."""
    matched, last = len(form.nodes), form.nodes[-1]
    if is_prepared(form.value.value, m.ready):
        raise Refused("v is known before any input: a product with a weight", last, matched)
    dtypes = [v.value.dtype for v in (form.query, form.key, form.value, form.output, *(t.view for t in form.terms))]
    if any(dtype != dtypes[0] for dtype in dtypes) or not dtypes[0].is_float:
        raise Refused(f"q, k, v, the bias and the result are of {', '.join(dict.fromkeys(map(str, dtypes)))}", last, matched)
    keys = set(resolve(form.keys))
    if not keys <= set(form.value.atoms) or set(form.key.atoms) & set(form.query.atoms) & keys:
        raise Refused("the product with v does not sum over the keys", last, matched)
    if set(resolve(form.inner)) & set(flat(form.axes)):
        raise Refused("the scores still have the axis that their product sums over", last, matched)
