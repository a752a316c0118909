"""Layer normalisation as one `layer_norm` op."""

from __future__ import annotations

from dataclasses import dataclass

from passes.algebra.norms import ANY, EPSILON, NUMBER, counts_and_columns, counts_right, norm_rules, one_a_column
from passes.algebra.scalars import as_written
from passes.algebra.variants import half_precision, inverse_root, mean, square
from passes.base import register_pass
from passes.language import tg
from passes.patterns import either, maybe, rule
from passes.rewriting import RewritePass


def _centred(x, count, inverse):  # type: ignore[no-untyped-def]
    """x - mean x."""
    return x - mean(x, count, inverse)


def _variance(x, count, inverse):  # type: ignore[no-untyped-def]
    """mean (x - mean x)^2 = mean x^2 - (mean x)^2."""
    difference = mean(square(x), count, inverse) - square(mean(x, count, inverse))
    return either(mean(square(_centred(x, count, inverse)), count, inverse),
                  difference, tg.maximum(difference, 0.0))  # rounding may take the difference below 0


def _shift(x, k, bias, count, inverse):  # type: ignore[no-untyped-def]
    """x k + (bias - mean x k)."""
    return x * k + (bias - mean(x, count, inverse) * k)


def _wide_norm(x, weight, bias, epsilon, dtype):  # type: ignore[no-untyped-def]
    """layer_norm of operands that are cast to `dtype`."""
    x, w, b = (tg.cast(v, dtype=dtype) for v in (x, weight, bias))
    return either(tg.layer_norm(x, epsilon=epsilon), tg.layer_norm(x, w, epsilon=epsilon),
                  tg.layer_norm(x, w, b, epsilon=epsilon), tg.layer_norm(x, None, b, epsilon=epsilon))


@register_pass
@dataclass(frozen=True)
class FuseLayerNorm(RewritePass):
    """(x - mean x) / sqrt(variance x + epsilon) w + b = layer_norm(x, w, b, epsilon), last axis (arXiv:1607.06450)."""

    effect = "rounds"
    rules = (
        *norm_rules(tg.layer_norm, ("(x - mean x)", "var x", "layer_norm"), _centred, _variance),
        # one scale and one shift a row, as when batch normalisation is folded
        rule("x k + (b - mean x k) = layer_norm(x, w, b), k = w / sqrt(var x + epsilon)",
             lambda x, weight, bias, epsilon=EPSILON, count=NUMBER, inverse=NUMBER: _shift(
                 x, inverse_root(maybe(lambda v: v + epsilon, _variance(x, count, inverse))) * weight, bias, count, inverse),
             lambda x, weight, bias, epsilon: tg.layer_norm(x, weight, bias, epsilon=as_written(epsilon, x.dtype)),
             where=counts_and_columns),
        rule("rms_norm(x - mean x) = layer_norm(x)",
             lambda x, weight, epsilon=ANY, count=NUMBER, inverse=NUMBER: either(
                 tg.rms_norm(_centred(x, count, inverse), epsilon=epsilon),
                 tg.rms_norm(_centred(x, count, inverse), weight, epsilon=epsilon)),
             lambda x, weight, epsilon: tg.layer_norm(x, weight, epsilon=epsilon), where=counts_right),
        rule("layer_norm(x, w) + b = layer_norm(x, w, b)",
             lambda x, weight, bias, epsilon=ANY: either(
                 tg.layer_norm(x, weight, epsilon=epsilon) + bias, tg.layer_norm(x, epsilon=epsilon) + bias),
             lambda x, weight, bias, epsilon: tg.layer_norm(x, weight, bias, epsilon=epsilon), where=one_a_column),
        rule("layer_norm(x as f32, w as f32, b as f32) as f16 = layer_norm(x, w, b)",
             lambda x, weight, bias, epsilon=ANY, inner=ANY, outer=ANY: tg.cast(
                 _wide_norm(x, weight, bias, epsilon, inner), dtype=outer),
             lambda x, weight, bias, epsilon: tg.layer_norm(x, weight, bias, epsilon=epsilon), where=half_precision),
    )
