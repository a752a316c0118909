"""Elimination of transposes: they cancel, join, or become part of products."""

from __future__ import annotations

from dataclasses import dataclass

from passes.algebra.transpose_regions import move_transposes
from passes.algebra.views import TRANSPOSE_RULES
from passes.base import register_pass
from passes.language import tg
from passes.matching import Match
from passes.patterns import attribute, like, rule, weight
from passes.rewriting import RewritePass, rewrite
from tgraph.ir.graph import Graph

ANY = attribute()
WEIGHT = weight()


def _is_matrix(match: Match) -> str | None:
    """A condition: the transposed weight is a matrix."""
    return None if match["perm"] == (1, 0) else f"perm {list(match['perm'])} is not that of a matrix"


def _swaps_last(match: Match) -> str | None:
    """A condition: the transpose swaps the last two axes."""
    perm = match["perm"]
    n = len(perm)
    return None if perm == (*range(n - 2), n - 1, n - 2) else f"perm {list(perm)} does more than swap the last two axes"


def _moves_ones(match: Match) -> str | None:
    """A condition: axes of a size other than 1 stay in their order; a symbolic size counts as such."""
    shape = match["x"].shape
    moved = [a for a in match["perm"] if shape[a] != 1]
    return None if moved == sorted(moved) else f"perm {list(match['perm'])} moves more than axes of size 1"


def _order_stays(match: Match) -> str | None:
    """A condition: the axes that are not reduced stay in their order."""
    perm, node = match["perm"], match.root
    gone = {a % len(perm) for a in node.attrs["axes"]}
    left = [a for i, a in enumerate(perm) if i not in gone]
    return None if left == sorted(left) else f"the axes that are left stand in the order {left}"


def _reduced(match, x, perm):  # type: ignore[no-untyped-def]
    axes = tuple(perm[a] for a in match.root.attrs["axes"])
    return getattr(tg, match.root.op.name)(x, axes=axes)


# applied last: a transpose that others may cancel should stay one
_ONES = rule("transpose(x) = reshape(x) where axes of size 1 move", lambda x, perm=ANY: tg.transpose(x, perm=perm),
             lambda x, perm: tg.reshape(x, shape=tuple(x.shape[a] for a in perm)), where=_moves_ones)


@register_pass
@dataclass(frozen=True)
class EliminateTransposes(RewritePass):
    """transpose(transpose(x, p), p^-1) = x, also across ops between them. Never makes more transposes.

    Transposes move across elementwise ops, softmax, norms and products of rows. x transpose(W) = linear(x, W) for a
    parameter-only W; x^T y^T = (y x)^T; a reduction of a transpose reduces other axes instead.
    """

    effect = "rounds"
    rules = (
        *TRANSPOSE_RULES,
        rule("x transpose(W) = linear(x, W)", lambda x, w=WEIGHT, perm=ANY: tg.matmul(x, tg.transpose(w, perm=perm)),
             lambda x, w: tg.linear(x, w), where=_is_matrix, shared=True),
        rule("x^T y^T = (y x)^T",
             lambda x, y, perm=ANY: tg.matmul(tg.transpose(x, perm=perm), tg.transpose(y, perm=perm)),
             lambda x, y, perm: tg.transpose(tg.matmul(y, x), perm=perm), where=_swaps_last),
        rule("reduce(transpose(x)) = reduce(x)",
             lambda x, perm=ANY, axes=ANY: like(tg.reduce_sum(tg.transpose(x, perm=perm), axes=axes), "reduces"),
             lambda x, perm, match: _reduced(match, x, perm), where=_order_stays),
    )

    def apply(self, graph: Graph) -> None:
        super().apply(graph)
        if move_transposes(graph):
            super().apply(graph)
        rewrite(graph, (_ONES,), self.pass_name())
