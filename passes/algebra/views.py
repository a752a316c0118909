"""Rules for ops that move no data: reshape, squeeze, unsqueeze, transpose, expand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from passes.language import tg
from passes.matching import Match
from passes.patterns import NodeRule, Rule, attribute, like, node_rule, rule
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.rules import Constraints
from tgraph.ir.values import Node, Result, Value

ANY = attribute()


def ones_added(small: Sequence[DimLike], large: Sequence[DimLike]) -> tuple[int, ...] | None:
    """The axes of size 1, counted from the end of `large`, without which it is `small`; None if there are no such axes.

    Of neighbouring axes of size 1 the first ones are taken.
    """
    axes: list[int] = []
    left = len(small)
    for position in reversed(range(len(large))):
        # a one of `large` belongs to `small` while `small` still has it at its end
        if left and small[left - 1] == large[position]:
            left -= 1
        elif large[position] == 1:
            axes.append(position - len(large))
        else:
            return None
    return None if left else tuple(sorted(axes))


def reshaping(shape: Sequence[DimLike], target: Sequence[DimLike]) -> tuple[str, dict[str, Any]] | None:
    """The op, with its attributes, that reshapes `shape` to `target`: unsqueeze, squeeze or reshape; None if they are equal."""
    if tuple(shape) == tuple(target):
        return None
    if (axes := ones_added(shape, target)) is not None:
        return "unsqueeze", {"axes": axes}
    if (axes := ones_added(target, shape)) is not None:
        return "squeeze", {"axes": axes}
    return "reshape", {"shape": tuple(target)}


def _same_size(graph: Graph, x: Value, target: Sequence[DimLike]) -> bool:
    return Constraints(graph.constraints).compare(x.type.size, math.prod(target)) == "equal"


@node_rule("reshape(reshape(x)) = reshape(x); 1s come by unsqueeze and go by squeeze",
           where=lambda op: op.traits.view == "regroup")
def _reshapes(graph: Graph, node: Node) -> Sequence[Value] | str:
    x, covered = node.inputs[0], [node]
    while isinstance(x, Result) and x.node.op.traits.view == "regroup":
        covered.insert(0, x.node)
        x = x.node.inputs[0]
    target = node.result.shape
    if not _same_size(graph, x, target):
        return f"cannot prove that {x.type} and {node.result.type} have the same number of elements"
    how = reshaping(x.shape, target)
    if how is None:
        return [x]
    if len(covered) == 1 and how == (node.op.name, node.attrs):
        return "it is canonical"
    op, attrs = how
    return [getattr(Builder(graph, Provenance.merge(n.provenance for n in covered)), op)(x, **attrs)]


def _reduction(x: Any, axes: Any, keepdims: bool) -> Any:
    return like(tg.reduce_sum(x, axes=axes, keepdims=keepdims), "reduces")


def _reduced(match: Match, x: Any, keepdims: bool) -> Any:
    node = match.nodes[1]
    return getattr(tg, node.op.name)(x, axes=node.attrs["axes"], keepdims=keepdims)


def _own_order(match: Match) -> str | None:
    perm = match["p"]
    return None if perm == tuple(range(len(perm))) else f"perm {list(perm)} moves axes"


def _own_shape(match: Match) -> str | None:
    shape = match["shape"]
    return None if shape == match["x"].shape else f"{match['x'].type} is not [{', '.join(map(str, shape))}]"


TRANSPOSE_RULES: tuple[Rule | NodeRule, ...] = (
    rule("transpose(transpose(x, p), q) = transpose(x, p[q])",
         lambda x, p=ANY, q=ANY: tg.transpose(tg.transpose(x, perm=p), perm=q),
         lambda x, p, q: tg.transpose(x, perm=tuple(p[a] for a in q)), shared=True),
    rule("transpose(x, 0 1 2 ...) = x", lambda x, p=ANY: tg.transpose(x, perm=p), lambda x: x, where=_own_order),
)

VIEW_RULES: tuple[Rule | NodeRule, ...] = (
    *TRANSPOSE_RULES,
    rule("expand(expand(x)) = expand(x)",
         lambda x, shape=ANY, inner=ANY: tg.expand(tg.expand(x, shape=inner), shape=shape),
         lambda x, shape: tg.expand(x, shape=shape), shared=True),
    rule("expand(x) to its own shape = x", lambda x, shape=ANY: tg.expand(x, shape=shape), lambda x: x,
         where=_own_shape),
    rule("unsqueeze(reduce(x)) = reduce(x) with axes kept",
         lambda x, axes=ANY: tg.unsqueeze(_reduction(x, axes, False), axes=axes),
         lambda x, match: _reduced(match, x, True)),
    rule("squeeze(reduce(x) with axes kept) = reduce(x)",
         lambda x, axes=ANY: tg.squeeze(_reduction(x, axes, True), axes=axes),
         lambda x, match: _reduced(match, x, False)),
    _reshapes,
)
