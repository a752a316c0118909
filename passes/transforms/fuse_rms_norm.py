"""Root mean square normalisation as one `rms_norm` op."""

from __future__ import annotations

from dataclasses import dataclass

from passes.algebra.norms import ANY, norm_rules
from passes.algebra.variants import half_precision, mean, square
from passes.base import register_pass
from passes.language import tg
from passes.patterns import either, rule
from passes.rewriting import RewritePass


@register_pass
@dataclass(frozen=True)
class FuseRMSNorm(RewritePass):
    """x / sqrt(mean x^2 + epsilon) w = rms_norm(x, w, epsilon) over the last axis (arXiv:1910.07467)."""

    effect = "rounds"
    rules = (
        *norm_rules(tg.rms_norm, ("x", "mean x^2", "rms_norm"), lambda x, count, inverse: x,
                    lambda x, count, inverse: mean(square(x), count, inverse)),
        rule("rms_norm(x as f32, w as f32) as f16 = rms_norm(x, w)",
             lambda x, weight, epsilon=ANY, inner=ANY, outer=ANY: tg.cast(either(
                 tg.rms_norm(tg.cast(x, dtype=inner), epsilon=epsilon),
                 tg.rms_norm(tg.cast(x, dtype=inner), tg.cast(weight, dtype=inner), epsilon=epsilon)), dtype=outer),
             lambda x, weight, epsilon: tg.rms_norm(x, weight, epsilon=epsilon), where=half_precision),
    )
