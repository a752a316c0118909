"""Matching attention around a softmax: back to the product of q and k, on to the product with v."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from passes.attention.axes import View, flat, new_axes, resolve, view_operand
from passes.attention.failure import MatchFailure
from passes.attention.form import Form, Term
from passes.attention.masking import settle
from passes.attention.scores import Scores, ScoresMatcher, follow_back, scaled_by
from passes.attention.weights import WeightsMatcher
from tgraph.ir.analysis import is_prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result


def match(graph: Graph, softmax: Node, parameter_only: Collection[Node], mask_fill: float, additive: float | None) -> Form:
    """The attention whose weights a softmax computes. Raises MatchFailure with the reason if they are no attention's.

    Fills up to `mask_fill`, and added terms up to `additive` if given, count as masks.
    """
    axes = new_axes(softmax.result.shape)
    keys = axes[softmax.attrs["axis"]]
    matcher = ScoresMatcher(graph, parameter_only, mask_fill, additive, keys)
    scores = settle(matcher, follow_back(matcher, softmax.inputs[0], axes, Scores((softmax,))))
    assert scores.query is not None and scores.key is not None
    query, key = unscaled(graph, scores.query), unscaled(graph, scores.key)
    output = WeightsMatcher(matcher, scores, axes, keys)
    output.walk(softmax)
    nodes = (*reversed(scores.nodes), *output.nodes)
    scale = scores.scale * query.scale * key.scale
    form = Form(axes, keys, scores.inner, query.view, key.view, output.value, output.output, scale, scores.terms,
                scores.conditions, output.empty_row, (*query.nodes, *key.nodes, *nodes),
                dynamic_scales=scores.dynamic_scales, softcap=scores.softcap)
    _check(matcher, form)
    return form


@dataclass(frozen=True)
class _Unscaled:
    """scale * view; `nodes` apply the scale, the first one first."""

    view: View
    scale: float
    nodes: tuple[Node, ...]


def unscaled(graph: Graph, view: View) -> _Unscaled:
    """An operand without the constants that it is multiplied by, also beneath view ops."""
    scale, path = 1.0, [view]
    nodes: tuple[Node, ...] = ()
    while True:
        current = path[-1]
        scaled = scaled_by(current.value.node) if isinstance(current.value, Result) else None
        if scaled is not None and current.value.dtype.is_float:
            assert isinstance(current.value, Result)
            scale *= scaled[1]
            nodes = (*(v.value.node for v in path if isinstance(v.value, Result)), *nodes)
            path = [View(scaled[0], current.axes)]
            view = path[0]
        elif (inner := view_operand(graph, current)) is not None:
            path.append(inner)
        else:
            return _Unscaled(view, scale, nodes)


def _check(m: ScoresMatcher, form: Form) -> None:
    """Raise MatchFailure for operands that the op does not take, and for v that is a weight."""
    matched, last = len(form.nodes), form.nodes[-1]
    if is_prepared(form.value.value, m.parameter_only):
        raise MatchFailure("v is known before any input: a product with a weight", last, matched)
    added = [t.view for t in form.terms if isinstance(t, Term)]
    scales = [s.view for s in form.dynamic_scales]
    dtypes = [v.value.dtype for v in (form.query, form.key, form.value, form.output, *added, *scales)]
    if any(dtype != dtypes[0] for dtype in dtypes) or not dtypes[0].is_float:
        names = ", ".join(dict.fromkeys(map(str, dtypes)))
        raise MatchFailure(f"q, k, v, the scale, the bias and the result are of {names}", last, matched)
    keys = set(resolve(form.keys))
    if not keys <= set(form.value.factors) or set(form.key.factors) & set(form.query.factors) & keys:
        raise MatchFailure("the product with v does not sum over the keys", last, matched)
    if set(resolve(form.inner)) & set(flat(form.axes)):
        raise MatchFailure("the scores still have the axis that their product sums over", last, matched)
