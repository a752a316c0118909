"""SiLU and the logistic function as one `silu` or `sigmoid` op, from all variants."""

from __future__ import annotations

from dataclasses import dataclass

from passes.algebra.variants import half, over
from passes.base import register_pass
from passes.language import tg
from passes.patterns import either, rule
from passes.rewriting import RewritePass


def _one_plus_exp(x):  # type: ignore[no-untyped-def]
    """1 + e^-x."""
    return tg.exp(either(-x, x * -1.0)) + 1.0


@register_pass
@dataclass(frozen=True)
class FuseSilu(RewritePass):
    """x sigmoid(x) = x / (1 + e^-x) = silu(x) (arXiv:1702.03118); sigmoid = 1 / (1 + e^-x) = (1 + tanh(x/2)) / 2."""

    effect = "rounds"
    rules = (
        rule("x / (1 + e^-x) = silu(x)", lambda x: over(x, _one_plus_exp(x)), lambda x: tg.silu(x)),
        rule("1 / (1 + e^-x) = sigmoid(x)",
             lambda x: either(1.0 / _one_plus_exp(x), tg.reciprocal(_one_plus_exp(x))), lambda x: tg.sigmoid(x)),
        rule("(1 + tanh(x / 2)) / 2 = sigmoid(x)",
             lambda x: either(half(tg.tanh(half(x)) + 1.0), half(tg.tanh(half(x))) + 0.5), lambda x: tg.sigmoid(x)),
        rule("x sigmoid(x) = silu(x)", lambda x: x * tg.sigmoid(x), lambda x: tg.silu(x)),
    )
