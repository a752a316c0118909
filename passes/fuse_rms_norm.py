"""Root mean square normalisation from its spellings."""

from __future__ import annotations

from dataclasses import dataclass

from .base import register_pass
from .language import tg
from .matching import Match
from .patterns import attribute, either, maybe, rule, scalar
from .rewriting import RewritePass
from .scalars import as_written
from .spellings import counts_right, inverse_root, mean, over_root, square

ANY = attribute()
NUMBER = scalar()
EPSILON = scalar(lambda e: e >= 0)


def _mean_square(x, epsilon, count, inverse):  # type: ignore[no-untyped-def]
    """mean of x^2, + epsilon."""
    return maybe(lambda v: v + epsilon, mean(square(x), count, inverse))


def one_a_column(match: Match) -> str | None:
    """Refuse a weight (or bias) that is not one number a column."""
    x = match["x"]
    for name in ("weight", "bias"):
        given = match.names.get(name)
        if given is not None and given.shape != x.shape[-1:]:
            return f"the {name} is {given.type}, not one number for each of the {x.shape[-1]} columns"
    return None


def half_precision(match: Match) -> str | None:
    """Refuse casts around a norm but those of a half precision to f32 and back, which the norm does by itself."""
    x, inner, outer = match["x"], match["inner"], match["outer"]
    if x.dtype.bits != 16 or inner.name != "f32" or outer != x.dtype:
        return f"from {x.dtype} over {inner} to {outer} is not how a norm of one type rounds"
    for name in ("weight", "bias"):
        given = match.names.get(name)
        if given is not None and given.dtype != x.dtype:
            return f"the {name} is {given.dtype} and would be rounded to {x.dtype}"
    return None


def counts_and_columns(match: Match) -> str | None:
    return counts_right(match) or one_a_column(match)


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
             lambda x, weight, epsilon: tg.rms_norm(x, weight, epsilon=as_written(epsilon, x.dtype)), where=counts_and_columns),
        rule("rms_norm(x) w = rms_norm(x, w)",
             lambda x, weight, epsilon=ANY: tg.rms_norm(x, epsilon=epsilon) * weight,
             lambda x, weight, epsilon: tg.rms_norm(x, weight, epsilon=epsilon), where=one_a_column),
        rule("rms_norm(x as f32, w as f32) as f16 = rms_norm(x, w)",
             lambda x, weight, epsilon=ANY, inner=ANY, outer=ANY: tg.cast(either(
                 tg.rms_norm(tg.cast(x, dtype=inner), epsilon=epsilon),
                 tg.rms_norm(tg.cast(x, dtype=inner), tg.cast(weight, dtype=inner), epsilon=epsilon)), dtype=outer),
             lambda x, weight, epsilon: tg.rms_norm(x, weight, epsilon=epsilon), where=half_precision),
    )
