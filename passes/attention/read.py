"""An `attention` op as a `Form`, so that scales, repeated heads and masks around it can move into it."""

from __future__ import annotations

import math
from collections.abc import Collection

from passes.attention.axes import Axes, AxisFactor, View, aligned, new_axes
from passes.attention.conditions import Leaf, conjuncts
from passes.attention.failure import MatchFailure
from passes.attention.form import Form, Masked, Term
from passes.attention.masking import added_mask, apart, is_moderate, is_zero
from passes.attention.match import unscaled
from passes.attention.positions import Offset, Places
from passes.attention.scores import ScoresMatcher
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value


def read(graph: Graph, node: Node, parameter_only: Collection[Node], mask_fill: float, additive: float | None) -> Form:
    """The form of an `attention` op, without constant scales on q and k, and with added masks among its conditions.

    Raises MatchFailure if two of the masks fill with different numbers.
    """
    q, k, v, mask, bias, _ = node.operands
    assert q is not None and k is not None and v is not None
    (batch, positions, inner), (heads,) = new_axes((q.shape[0], q.shape[2], q.shape[3])), new_axes(k.shape[1:2])
    keys, width = new_axes(v.shape[2:])
    repeats = () if q.shape[1] == k.shape[1] else (AxisFactor(q.shape[1] // k.shape[1]),)
    axes: Axes = (batch, (*heads, *repeats), positions, keys)
    matcher = ScoresMatcher(graph, parameter_only, mask_fill, additive, keys)
    query = unscaled(graph, View(q, (batch, (*heads, *repeats), positions, inner)))
    key = unscaled(graph, View(k, (batch, heads, keys, inner)))
    conditions = [] if mask is None else [Leaf.of(_mask(mask, axes))]
    conditions = [c for c in conditions if conjuncts(graph, c.view)]  # true everywhere is none
    empty_row: str = node.attrs["empty_row"]
    terms: list[Term] = []
    fills = set()
    limited = node.attrs["causal"] or node.attrs["window"] is not None
    alone = mask is None and not limited
    changes: tuple[Term | Masked, ...] = () if bias is None else tuple(Term(part) for part in _terms(aligned(bias, axes)))
    changes = tuple(c for c in changes if not is_zero(graph, c))
    changes = apart(matcher, changes) if alone else changes
    masks = [(c.condition, c.fill) if isinstance(c, Masked) else added_mask(matcher, c) for c in changes]
    moderate = all(found is not None or (isinstance(c, Term) and is_moderate(c)) for c, found in zip(changes, masks))
    only = isinstance(changes[0], Masked) if changes else False
    for change, found in zip(changes, masks):
        # low terms alone in a row give NaN or equal weights, whatever empty_row says of the other masks
        stays = found is None or (not alone and (additive is None or found[1] == -math.inf))
        if found is not None and additive is None and found[1] != -math.inf and not only:
            stays = stays or not moderate or sum(m is not None for m in masks) > 1
        if stays or found is None:
            assert isinstance(change, Term)
            terms.append(change)
        else:
            conditions.append(found[0])
            fills.add(found[1])
    if fills:
        if len(fills) > 1:
            raise MatchFailure(f"two masks fill with {' and '.join(f'{f:g}' for f in sorted(fills))}", node)
        if alone:
            empty_row = "nan" if fills == {-math.inf} else "uniform"
    return Form(axes, keys, inner, query.view, key.view, View(v, (batch, heads, keys, width)),
                View(node.result, (batch, (*heads, *repeats), positions, width)),
                node.attrs["scale"] * query.scale * key.scale, terms, conditions, empty_row,
                (*query.nodes, *key.nodes, node), _places(node), positions if limited else None, softcap=node.attrs["softcap"])


def _places(node: Node) -> Places:
    offset = node.operands[5]
    return Places(node.attrs["causal"], node.attrs["window"], None if offset is None else Offset(0, offset))


def _mask(mask: Value, axes: Axes) -> View:
    """The op's mask, of rank 2 to 4, with those of the scores' axes that it has."""
    batch, _, positions, _ = axes
    own = {2: (batch, axes[3]), 3: (batch, positions, axes[3])}.get(mask.type.rank, axes)
    return aligned(mask, own)


def _terms(bias: View) -> list[View]:
    """The terms that a bias is the sum of."""
    found, stack = [], [bias]
    while stack:
        view = stack.pop()
        if isinstance(view.value, Result) and view.value.node.op.name == "add" and len(view.value.uses) == 1:
            stack += [aligned(x, view.axes) for x in reversed(view.value.node.inputs)]
        else:
            found.append(view)
    return found
