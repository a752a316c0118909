"""GELU as one `gelu` or `quick_gelu` op, from all variants: exact, by tanh, and by a sigmoid."""

from __future__ import annotations

import math
from dataclasses import dataclass

from passes.algebra.variants import cube, half, over, square
from passes.base import register_pass
from passes.language import tg
from passes.patterns import either, rule
from passes.rewriting import RewritePass
from passes.transforms.canonicalize import FACTOR_RULES

CUBIC = 0.044715
SLOPE = math.sqrt(2 / math.pi)
QUICK = 1.702


def _gated(x, g):  # type: ignore[no-untyped-def]
    """x/2 (1 + g), with the 1/2 on any factor."""
    one = g + 1.0
    return either(half(x) * one, half(x * one), x * half(one), x * (half(g) + 0.5), half(x) + half(x) * g)


def _erf(x):  # type: ignore[no-untyped-def]
    """erf(x / sqrt 2)."""
    return tg.erf(either(x / math.sqrt(2), x * math.sqrt(0.5)))


def cubic(x, slope, factor=CUBIC):  # type: ignore[no-untyped-def]
    """slope (x + 0.044715 x^3), also as slope x (1 + 0.044715 x^2)."""
    third = either(cube(x) * factor, x * factor * x * x, square(x) * factor * x, x * factor * square(x))
    one = either(square(x) * factor, x * factor * x) + 1.0
    return either((x + third) * slope, x * slope * one, x * one * slope, x * (one * slope))


def _twice(x, g):  # type: ignore[no-untyped-def]
    """x (1 + g): the 1/2 has moved behind the product that reads it."""
    return x * (g + 1.0)


@register_pass
@dataclass(frozen=True)
class FuseGelu(RewritePass):
    """x/2 (1 + erf(x / sqrt 2)) = gelu(x) (arXiv:1606.08415), its approximations by tanh, and x sigmoid(1.702 x)."""

    effect = "rounds"
    rules = (
        rule("x/2 (1 + erf(x / sqrt 2)) = gelu(x)", lambda x: _gated(x, _erf(x)), lambda x: tg.gelu(x)),
        rule("x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = gelu(x)",
             lambda x: _gated(x, tg.tanh(cubic(x, SLOPE))), lambda x: tg.gelu(x, approximate="tanh")),
        rule("x (1 + erf(x / sqrt 2)) = 2 gelu(x)", lambda x: _twice(x, _erf(x)), lambda x: tg.gelu(x) * 2.0),
        rule("x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = 2 gelu(x)",
             lambda x: _twice(x, tg.tanh(cubic(x, SLOPE))), lambda x: tg.gelu(x, approximate="tanh") * 2.0),
        rule("2 x / 2 = x", lambda x: x * 2.0 / 2.0, lambda x: x),
        # 1 + tanh z = 2 sigmoid(2 z)
        rule("x sigmoid(sqrt(8/pi) (x + 0.044715 x^3)) = gelu(x)",
             lambda x: x * tg.sigmoid(cubic(x, 2 * SLOPE)), lambda x: tg.gelu(x, approximate="tanh")),
        rule("x sigmoid(1.702 x) = quick_gelu(x)", lambda x: x * tg.sigmoid(x * QUICK), lambda x: tg.quick_gelu(x)),
        rule("x / (1 + e^(-1.702 x)) = quick_gelu(x)",
             lambda x: over(x, tg.exp(either(-(x * QUICK), x * -QUICK, -x * QUICK)) + 1.0), lambda x: tg.quick_gelu(x)),
        *FACTOR_RULES,
    )
