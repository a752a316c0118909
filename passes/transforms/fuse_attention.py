"""Scaled dot-product attention from its spellings.

Both products are read as sums over atoms (`passes.axes`), so that it makes no difference where a transpose stands,
whether an einsum or a matmul says it, or how many axes the heads have. One rule then covers them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from passes.attention.form import Form, MatchFailure
from passes.attention.heads import join
from passes.attention.match import match
from passes.attention.read import read
from passes.base import Pass, register_pass
from passes.matching import Miss
from passes.rewriting import current_report
from tgraph.ir.analysis import prepared
from tgraph.ir.graph import Graph

RULE = "softmax(scale q k^T + bias, where allowed) v = attention(q, k, v, mask, bias)"
SPECIALIZE = "attention(c q, repeat(k), repeat(v), mask and j <= i) = attention(q, k, v, mask, scale=c, causal=true)"
JOIN = "concat(attention(q_i, k_i, v_i)) = attention(q, k, v), q_i, k_i, v_i = split(q), split(k), split(v)"
MASK_FILL = -1e30  # scores are far from it, so that e^(fill - max) is 0


@register_pass
@dataclass(frozen=True)
class FuseAttention(Pass):
    """softmax(scale q k^T + bias, where allowed) v = attention(q, k, v, mask, bias, scale=scale).

    The scale may stand on q, k or the scores, as factor or divisor; one that only a run knows and that is the same for all
    keys moves to q. `where(mask, s, c)` is a mask if c <= -1e30 (in f16, which ends at -65504, -inf alone; `finite-mask`
    takes more); a row without keys then has equal weights (empty_row "uniform"), or NaN for -inf, or zeros if it is
    selected away. s + where(mask, 0, -inf) is one too, and where(mask, s + where(also, 0, c), c) is both; other terms
    stay a bias. What one mask cannot say becomes a bias, where(mask, bias, c): two fills, and a bias inside of a finite
    fill that is fed and may hold it. Comparisons of positions become `causal`. k and v that repeat heads become grouped
    heads; heads that are split, attended and put together one by one become one op. All that also for `attention` ops
    that are there. Products are taken to be far from c. A masked key counts for nothing afterwards, NaN or not.
    """

    effect = "rounds"
    moves_excluded = True
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        fuse(graph, MASK_FILL, RULE)
        join_heads(graph, JOIN)
        specialize(graph, SPECIALIZE)


def fuse(graph: Graph, mask_fill: float, rule: str, additive: float | None = None) -> None:
    """Fuse every attention; fills up to `mask_fill`, and added terms up to `additive` if given, count as masks."""
    report = current_report()
    parameter_only = prepared(graph)
    for softmax in [n for n in graph.nodes if n.op.name == "softmax"]:
        if softmax not in graph:  # gone with an earlier rewrite
            continue
        report.attempts += 1
        try:
            form: Form = match(graph, softmax, parameter_only, mask_fill, additive)
            made = form.replace(graph)
            report.rewrote(rule, form.nodes[::-1], [made])
        except MatchFailure as refused:
            report.missed(Miss(rule, softmax, refused.matched, refused.at, refused.reason))


def join_heads(graph: Graph, rule: str) -> None:
    """Make one op of the attentions that a concat puts together."""
    report = current_report()
    parameter_only = prepared(graph)
    for concat in [n for n in graph.nodes if n.op.name == "concat"]:
        if concat not in graph:  # gone with an earlier rewrite
            continue
        report.attempts += 1
        try:
            form = join(graph, concat, parameter_only)
            report.rewrote(rule, form.nodes[::-1], [form.replace(graph)])
        except MatchFailure as refused:
            report.missed(Miss(rule, concat, refused.matched, refused.at, refused.reason))


def specialize(graph: Graph, rule: str, additive: float | None = None) -> None:
    """Let every `attention` op take in the factors, repeated heads, causal masks and added masks around it."""
    report = current_report()
    parameter_only = prepared(graph)
    for node in [n for n in graph.nodes if n.op.name == "attention"]:
        if node not in graph:  # gone with an earlier rewrite
            continue
        report.attempts += 1
        try:
            form = read(graph, node, parameter_only, additive)
            if not form.improves(graph, node):
                raise MatchFailure("nothing around it can move into it", node)
            report.rewrote(rule, form.nodes[::-1], [form.replace(graph)])
        except MatchFailure as refused:
            report.missed(Miss(rule, node, refused.matched, refused.at, refused.reason))
