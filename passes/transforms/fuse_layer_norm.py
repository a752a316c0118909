"""Layer normalisation from its spellings."""

from __future__ import annotations

from dataclasses import dataclass

from passes.algebra.scalars import as_written
from passes.algebra.spellings import (
    counts_and_columns,
    counts_right,
    half_precision,
    inverse_root,
    mean,
    one_a_column,
    over_root,
    square,
)
from passes.base import register_pass
from passes.language import tg
from passes.patterns import attribute, either, maybe, rule, scalar
from passes.rewriting import RewritePass

ANY = attribute()
NUMBER = scalar()
EPSILON = scalar(lambda e: e >= 0)


def _centred(x, count, inverse):  # type: ignore[no-untyped-def]
    return x - mean(x, count, inverse)


def _variance(x, epsilon, count, inverse):  # type: ignore[no-untyped-def]
    """mean (x - mean x)^2 = mean x^2 - (mean x)^2, + epsilon."""
    difference = mean(square(x), count, inverse) - square(mean(x, count, inverse))
    return maybe(lambda v: v + epsilon, either(
        mean(square(_centred(x, count, inverse)), count, inverse),
        difference, tg.maximum(difference, 0.0)))  # rounding may take the difference below 0


def _shift(x, k, bias, count, inverse):  # type: ignore[no-untyped-def]
    return x * k + (bias - mean(x, count, inverse) * k)


def _wide_norm(x, weight, bias, epsilon, dtype):  # type: ignore[no-untyped-def]
    x, w, b = (tg.cast(v, dtype=dtype) for v in (x, weight, bias))
    return either(tg.layer_norm(x, epsilon=epsilon), tg.layer_norm(x, w, epsilon=epsilon),
                  tg.layer_norm(x, w, b, epsilon=epsilon), tg.layer_norm(x, None, b, epsilon=epsilon))


@register_pass
@dataclass(frozen=True)
class FuseLayerNorm(RewritePass):
    """(x - mean x) / sqrt(variance x + epsilon) w + b = layer_norm(x, w, b, epsilon), last axis (arXiv:1607.06450)."""

    effect = "rounds"
    rules = (
        rule("(x - mean x) / sqrt(var x + epsilon) = layer_norm(x)",
             lambda x, epsilon=EPSILON, count=NUMBER, inverse=NUMBER: over_root(
                 _centred(x, count, inverse), _variance(x, epsilon, count, inverse)),
             lambda x, epsilon: tg.layer_norm(x, epsilon=as_written(epsilon, x.dtype)), where=counts_right),
        rule("(x - mean x) w / sqrt(var x + epsilon) = layer_norm(x, w)",
             lambda x, weight, epsilon=EPSILON, count=NUMBER, inverse=NUMBER: either(
                 over_root(_centred(x, count, inverse) * weight, _variance(x, epsilon, count, inverse)),
                 _centred(x, count, inverse) * (
                     inverse_root(_variance(x, epsilon, count, inverse)) * weight)),
             lambda x, weight, epsilon: tg.layer_norm(x, weight, epsilon=as_written(epsilon, x.dtype)),
             where=counts_and_columns),
        # as batch normalisation is folded: one scale and one shift a row
        rule("x k + (b - mean x k) = layer_norm(x, w, b), k = w / sqrt(var x + epsilon)",
             lambda x, weight, bias, epsilon=EPSILON, count=NUMBER, inverse=NUMBER: _shift(
                 x, inverse_root(_variance(x, epsilon, count, inverse)) * weight, bias, count, inverse),
             lambda x, weight, bias, epsilon: tg.layer_norm(x, weight, bias, epsilon=as_written(epsilon, x.dtype)),
             where=counts_and_columns),
        rule("rms_norm(x - mean x) = layer_norm(x)",
             lambda x, weight, epsilon=ANY, count=NUMBER, inverse=NUMBER: either(
                 tg.rms_norm(_centred(x, count, inverse), epsilon=epsilon),
                 tg.rms_norm(_centred(x, count, inverse), weight, epsilon=epsilon)),
             lambda x, weight, epsilon: tg.layer_norm(x, weight, epsilon=epsilon), where=counts_right),
        rule("layer_norm(x) w = layer_norm(x, w)",
             lambda x, weight, epsilon=ANY: tg.layer_norm(x, epsilon=epsilon) * weight,
             lambda x, weight, epsilon: tg.layer_norm(x, weight, epsilon=epsilon), where=one_a_column),
        rule("layer_norm(x, w) + b = layer_norm(x, w, b)",
             lambda x, weight, bias, epsilon=ANY: either(
                 tg.layer_norm(x, weight, epsilon=epsilon) + bias, tg.layer_norm(x, epsilon=epsilon) + bias),
             lambda x, weight, bias, epsilon: tg.layer_norm(x, weight, bias, epsilon=epsilon), where=one_a_column),
        rule("layer_norm(x as f32, w as f32, b as f32) as f16 = layer_norm(x, w, b)",
             lambda x, weight, bias, epsilon=ANY, inner=ANY, outer=ANY: tg.cast(
                 _wide_norm(x, weight, bias, epsilon, inner), dtype=outer),
             lambda x, weight, bias, epsilon: tg.layer_norm(x, weight, bias, epsilon=epsilon), where=half_precision),
    )
