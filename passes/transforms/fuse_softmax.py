"""Softmax and log-softmax as one op."""

from __future__ import annotations

import math
from dataclasses import dataclass

from passes.algebra.variants import half_precision, over, sum_of
from passes.base import register_pass
from passes.language import tg
from passes.patterns import attribute, either, rule, scalar, tensor
from passes.rewriting import RewritePass

AXIS = ANY = attribute()
MASK = tensor("bool")
FACTOR = scalar(lambda c: c > 0)  # with a negative one, c (x - max x) is not negative, and its exponential may overflow


def _largest(x, axis):  # type: ignore[no-untyped-def]
    """max x along an axis, which stays with size 1."""
    return either(tg.reduce_max(x, axes=(axis,), keepdims=True),
                  tg.unsqueeze(tg.reduce_max(x, axes=(axis,)), axes=(axis,)))


def _shifted(x, axis):  # type: ignore[no-untyped-def]
    """x - max x."""
    return x - _largest(x, axis)


def _over_sum(e, axis):  # type: ignore[no-untyped-def]
    """e / sum e."""
    return over(e, sum_of(e, (axis,)))


def _log_sum_exp(x, axis):  # type: ignore[no-untyped-def]
    """ln sum e^x."""
    return tg.log(sum_of(tg.exp(x), (axis,)))


def _kept(e, mask, dtype):  # type: ignore[no-untyped-def]
    """e where the mask holds, 0 elsewhere."""
    return either(tg.where(mask, e, 0.0), tg.where(~mask, 0.0, e), e * tg.cast(mask, dtype=dtype))


@register_pass
@dataclass(frozen=True)
class FuseSoftmax(RewritePass):
    """e^(x - max x) / sum e^(x - max x) = softmax(x): with or without maximum, masked, scaled, and its logarithm."""

    effect = "rounds"
    moves_excluded = True
    rules = (
        rule("e^(x - max x) / sum e^(x - max x) = softmax(x)",
             lambda x, axis=AXIS: _over_sum(tg.exp(_shifted(x, axis)), axis), lambda x, axis: tg.softmax(x, axis=axis)),
        rule("e^(c (x - max x)) / sum e^(c (x - max x)) = softmax(c x), c > 0",
             lambda x, c=FACTOR, d=FACTOR, axis=AXIS: _over_sum(
                 tg.exp(either(_shifted(x, axis) * c, _shifted(x, axis) / d)), axis),
             lambda x, c, d, axis: tg.softmax(x * c if c is not None else x / d, axis=axis)),
        rule("e^x / sum e^x = softmax(x)",
             lambda x, axis=AXIS: _over_sum(tg.exp(x), axis), lambda x, axis: tg.softmax(x, axis=axis)),
        # a row without a key is 0 / 0 before, and all -inf after: NaN both times. A mask of numbers may be 0.5: a weight
        rule("m e^(x - max x) / sum m e^(x - max x) = softmax(x where m, else -inf)",
             lambda x, mask=MASK, dtype=ANY, axis=AXIS: _over_sum(
                 _kept(tg.exp(either(_shifted(x, axis), x)), mask, dtype), axis),
             lambda x, mask, axis: tg.softmax(tg.where(mask, x, -math.inf), axis=axis)),
        rule("x - max x - ln sum e^(x - max x) = log_softmax(x)",
             lambda x, axis=AXIS: either(
                 _shifted(x, axis) - _log_sum_exp(_shifted(x, axis), axis),
                 x - (_log_sum_exp(_shifted(x, axis), axis) + _largest(x, axis))),
             lambda x, axis: tg.log_softmax(x, axis=axis)),
        rule("x - ln sum e^x = log_softmax(x)",
             lambda x, axis=AXIS: x - _log_sum_exp(x, axis), lambda x, axis: tg.log_softmax(x, axis=axis)),
        rule("ln softmax(x) = log_softmax(x)",
             lambda x, axis=AXIS: tg.log(tg.softmax(x, axis=axis)), lambda x, axis: tg.log_softmax(x, axis=axis)),
        rule("softmax(x - max x) = softmax(x)",
             lambda x, axis=AXIS: tg.softmax(_shifted(x, axis), axis=axis), lambda x, axis: tg.softmax(x, axis=axis)),
        rule("softmax(x as f32) as f16 = softmax(x)",
             lambda x, inner=ANY, outer=ANY, axis=AXIS: tg.cast(
                 tg.softmax(tg.cast(x, dtype=inner), axis=axis), dtype=outer),
             lambda x, axis: tg.softmax(x, axis=axis), where=half_precision),
    )
