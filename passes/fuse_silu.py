"""SiLU from its spellings."""

from __future__ import annotations

from dataclasses import dataclass

import tgraph as tg

from .base import register_pass
from .patterns import rule
from .rewriting import RewritePass


@register_pass
@dataclass(frozen=True)
class FuseSilu(RewritePass):
    """x sigmoid(x) = x / (1 + e^-x) = silu(x) (arXiv:1702.03118), and the logistic function from 1 / (1 + e^-x)."""

    effect = "rounds"
    rules = (
        rule("x / (1 + e^-x) = silu(x)", lambda x: x / (tg.exp(-x) + 1.0), lambda x: tg.silu(x)),
        rule("1 / (1 + e^-x) = sigmoid(x)", lambda x: 1.0 / (tg.exp(-x) + 1.0), lambda x: tg.sigmoid(x)),
        rule("x sigmoid(x) = silu(x)", lambda x: x * tg.sigmoid(x), lambda x: tg.silu(x)),
    )
