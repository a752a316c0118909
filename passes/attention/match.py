"""The attention that a softmax is the middle of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from passes.attention.axes import View, beneath, flat, fresh, resolve
from passes.attention.form import Form, MatchFailure, Term
from passes.attention.masking import settle
from passes.attention.scores import Scores, ScoresMatcher, follow_back, scaled_by
from passes.attention.weights import WeightsMatcher
from tgraph.ir.analysis import is_prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result


def match(graph: Graph, softmax: Node, parameter_only: Collection[Node], mask_fill: float, additive: float | None) -> Form:
    """The attention that a softmax is the middle of. Raises MatchFailure with the reason if it is none."""
    axes = fresh(softmax.result.shape)
    keys = axes[softmax.attrs["axis"]]
    matcher = ScoresMatcher(graph, parameter_only, mask_fill, additive, keys)
    scores = settle(matcher, follow_back(matcher, softmax.inputs[0], axes, Scores((softmax,))))
    assert scores.query is not None and scores.key is not None
    query, key = peel(graph, scores.query), peel(graph, scores.key)
    output = WeightsMatcher(matcher, scores, axes, keys)
    output.walk(softmax)
    nodes = (*reversed(scores.nodes), *output.nodes)
    scale = scores.scale * query.factor * key.factor
    form = Form(axes, keys, scores.inner, query.view, key.view, output.value, output.output, scale, scores.terms,
                scores.conditions, output.empty_row, (*query.nodes, *key.nodes, *nodes),
                factors=scores.factors)
    _check(matcher, form)
    return form


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
        scaled = scaled_by(current.value.node) if isinstance(current.value, Result) else None
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


def _check(m: ScoresMatcher, form: Form) -> None:
    """What the op asks of its operands, and what products with weights are not taken for."""
    matched, last = len(form.nodes), form.nodes[-1]
    if is_prepared(form.value.value, m.parameter_only):
        raise MatchFailure("v is known before any input: a product with a weight", last, matched)
    dtypes = [v.value.dtype for v in (form.query, form.key, form.value, form.output,
                                      *(t.view for t in form.terms if isinstance(t, Term)), *(f.view for f in form.factors))]
    if any(dtype != dtypes[0] for dtype in dtypes) or not dtypes[0].is_float:
        names = ", ".join(dict.fromkeys(map(str, dtypes)))
        raise MatchFailure(f"q, k, v, the scale, the bias and the result are of {names}", last, matched)
    keys = set(resolve(form.keys))
    if not keys <= set(form.value.atoms) or set(form.key.atoms) & set(form.query.atoms) & keys:
        raise MatchFailure("the product with v does not sum over the keys", last, matched)
    if set(resolve(form.inner)) & set(flat(form.axes)):
        raise MatchFailure("the scores still have the axis that their product sums over", last, matched)
