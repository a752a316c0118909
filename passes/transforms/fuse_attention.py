"""Scaled dot-product attention as one `attention` op.

Both products are read as sums over axis factors (`passes.attention.axes`), so it makes no difference where a transpose stands,
whether the product is an einsum or a matmul, or how many axes the heads have: one rule covers all variants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from passes.attention.failure import MatchFailure
from passes.attention.form import Form
from passes.attention.heads import join
from passes.attention.match import match
from passes.attention.read import read
from passes.base import Pass, register_pass
from passes.matching import Miss
from passes.rewriting import current_report
from tgraph.ir.analysis import prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node

RULE = "softmax(scale q k^T + bias, where allowed) v = attention(q, k, v, mask, bias)"
SPECIALIZE = "attention(c q, repeat(k), repeat(v), mask and j <= i) = attention(q, k, v, mask, scale=c, causal=true)"
JOIN = "concat(attention(q_i, k_i, v_i)) = attention(q, k, v), q_i, k_i, v_i = split(q), split(k), split(v)"
MASK_FILL = -1e30  # scores are far from it, so that e^(fill - max) is 0


@register_pass
@dataclass(frozen=True)
class FuseAttention(Pass):
    """softmax(scale q k^T + bias, where allowed) v = attention(q, k, v, mask, bias, scale=scale).

    Scale: on q, k or the scores, as factor or divisor. One that is computed at run time, the same for all keys, moves to q.

    Cap: c tanh(s / c) of the scores, before any mask or bias, is the op's `softcap`.

    Masks: `where(mask, s, c)` is one if c <= -1e30 (in f16, which ends at -65504, -inf alone; `finite-mask` takes more). A row
    without keys then has equal weights (empty_row "uniform"), or NaN for -inf, or zeros if it is selected away, be it as NaN.
    s + where(mask, 0, c) is a mask too, and where(mask, s + where(also, 0, c), c) is both. Other terms stay a bias.
    What one mask cannot express becomes a bias, where(mask, bias, c): two different fills, and a bias inside of a finite
    fill that comes from an input and may be as low. Comparisons of positions become `causal` and `window`.

    Heads: k and v that repeat heads become grouped heads; heads that are computed one by one and concatenated become one op.

    All that also for `attention` ops already in the graph. Products are taken to be far from c. A masked key has no influence
    afterwards, even if it is NaN.
    """

    effect = "rounds"
    moves_excluded = True
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        fuse(graph, MASK_FILL, RULE)
        join_heads(graph, JOIN)
        specialize(graph, SPECIALIZE)


def fuse(graph: Graph, mask_fill: float, rule: str, additive: float | None = None) -> None:
    """Fuse the attention around every softmax; fills up to `mask_fill`, and added terms up to `additive`, are masks."""
    _replace_each(graph, "softmax", rule, lambda node, parameter_only: match(graph, node, parameter_only, mask_fill, additive))


def miss(graph: Graph, softmax: Node, parameter_only: set[Node]) -> Miss | None:
    """Why a softmax is no attention's, or None if it is one."""
    try:
        match(graph, softmax, parameter_only, MASK_FILL, None)
    except MatchFailure as failure:
        return Miss(RULE, softmax, failure.matched, failure.at, failure.reason)
    return None


def join_heads(graph: Graph, rule: str) -> None:
    """Make one op of the single heads of attention that a concat joins."""
    _replace_each(graph, "concat", rule, lambda node, parameter_only: join(graph, node, parameter_only))


def specialize(graph: Graph, rule: str, additive: float | None = None) -> None:
    """Move the scales, repeated heads, causal masks and added masks around every `attention` op into it."""

    def find(node: Node, parameter_only: set[Node]) -> Form:
        form = read(graph, node, parameter_only, MASK_FILL, additive)
        if not form.improves(graph, node):
            raise MatchFailure("nothing around it can move into it", node)
        return form

    _replace_each(graph, "attention", rule, find)


def _replace_each(graph: Graph, root: str, rule: str, find: Callable[[Node, set[Node]], Form]) -> None:
    """Replace the attention that `find` gives for each node of the op `root`; where it raises MatchFailure, report a miss.

    `find` is called with the node and the nodes of the prepare part.
    """
    report = current_report()
    parameter_only = prepared(graph)
    for node in [n for n in graph.nodes if n.op.name == root]:
        if node not in graph:  # gone with an earlier rewrite
            continue
        report.attempts += 1
        try:
            form = find(node, parameter_only)
            report.rewrote(rule, form.nodes[::-1], [form.replace(graph)])
        except MatchFailure as failure:
            report.missed(Miss(rule, node, failure.matched, failure.at, failure.reason))
