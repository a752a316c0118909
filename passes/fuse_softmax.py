"""Softmax from the chain of ops that it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import tgraph as tg

from .base import register_pass
from .patterns import attribute, either, rule
from .rewriting import RewritePass


def _shifted(x, axis):  # type: ignore[no-untyped-def]
    return x - tg.reduce_max(x, axes=(axis,), keepdims=True)


def _over_sum(e, axis):  # type: ignore[no-untyped-def]
    return e / tg.reduce_sum(e, axes=(axis,), keepdims=True)


@register_pass
@dataclass(frozen=True)
class FuseSoftmax(RewritePass):
    """e^(x - max x) / sum e^(x - max x) = softmax(x), with or without the maximum, and its logarithm."""

    effect = "rounds"
    rules = (
        rule("e^(x - max x) / sum e^(x - max x) = softmax(x)",
             lambda x, axis=attribute(): _over_sum(tg.exp(_shifted(x, axis)), axis), lambda x, axis: tg.softmax(x, axis=axis)),
        rule("e^x / sum e^x = softmax(x)",
             lambda x, axis=attribute(): _over_sum(tg.exp(x), axis), lambda x, axis: tg.softmax(x, axis=axis)),
        rule("x - max x - ln sum e^(x - max x) = log_softmax(x)",
             lambda x, axis=attribute(): _shifted(x, axis) - tg.log(
                 tg.reduce_sum(tg.exp(_shifted(x, axis)), axes=(axis,), keepdims=True)),
             lambda x, axis: tg.log_softmax(x, axis=axis)),
        rule("ln softmax(x) = log_softmax(x)",
             lambda x, axis=attribute(): tg.log(tg.softmax(x, axis=axis)), lambda x, axis: tg.log_softmax(x, axis=axis)),
        rule("softmax(x - max x) = softmax(x)",
             lambda x, axis=attribute(): tg.softmax(either(_shifted(x, axis)), axis=axis),
             lambda x, axis: tg.softmax(x, axis=axis)),
    )
