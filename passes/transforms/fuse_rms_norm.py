"""Root mean square normalisation from its spellings."""

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


def _mean_square(x, epsilon, count, inverse):  # type: ignore[no-untyped-def]
    """mean of x^2, + epsilon."""
    return maybe(lambda v: v + epsilon, mean(square(x), count, inverse))


@register_pass
@dataclass(frozen=True)
class FuseRMSNorm(RewritePass):
    """x / sqrt(mean x^2 + epsilon) w = rms_norm(x, w, epsilon) over the last axis (arXiv:1910.07467)."""

    effect = "rounds"
    rules = (
        rule("x / sqrt(mean x^2 + epsilon) = rms_norm(x)",
             lambda x, epsilon=EPSILON, count=NUMBER, inverse=NUMBER: over_root(
                 x, _mean_square(x, epsilon, count, inverse)),
             lambda x, epsilon: tg.rms_norm(x, epsilon=as_written(epsilon, x.dtype)), where=counts_right),
        rule("x w / sqrt(mean x^2 + epsilon) = rms_norm(x, w)",
             lambda x, weight, epsilon=EPSILON, count=NUMBER, inverse=NUMBER: either(
                 over_root(x * weight, _mean_square(x, epsilon, count, inverse)),
                 x * (inverse_root(_mean_square(x, epsilon, count, inverse)) * weight)),
             lambda x, weight, epsilon: tg.rms_norm(x, weight, epsilon=as_written(epsilon, x.dtype)),
             where=counts_and_columns),
        rule("rms_norm(x) w = rms_norm(x, w)",
             lambda x, weight, epsilon=ANY: tg.rms_norm(x, epsilon=epsilon) * weight,
             lambda x, weight, epsilon: tg.rms_norm(x, weight, epsilon=epsilon), where=one_a_column),
        rule("rms_norm(x as f32, w as f32) as f16 = rms_norm(x, w)",
             lambda x, weight, epsilon=ANY, inner=ANY, outer=ANY: tg.cast(either(
                 tg.rms_norm(tg.cast(x, dtype=inner), epsilon=epsilon),
                 tg.rms_norm(tg.cast(x, dtype=inner), tg.cast(weight, dtype=inner), epsilon=epsilon)), dtype=outer),
             lambda x, weight, epsilon: tg.rms_norm(x, weight, epsilon=epsilon), where=half_precision),
    )
