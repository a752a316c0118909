"""Patterns for expressions that can be written in several ways (squares, halves, quotients, means), which fusions share."""

from __future__ import annotations

from typing import Any

from passes.language import tg
from passes.matching import Match
from passes.patterns import either

LAST = (-1,)


def square(x: Any) -> Any:
    """x^2."""
    return either(tg.square(x), x * x, x ** 2.0)


def cube(x: Any) -> Any:
    """x^3."""
    return either(x ** 3.0, square(x) * x)


def half(x: Any) -> Any:
    """x / 2."""
    return either(x * 0.5, x / 2.0)


def over(x: Any, y: Any) -> Any:
    """x / y."""
    return either(x / y, x * tg.reciprocal(y), x * (1.0 / y))


def sum_of(x: Any, axes: Any) -> Any:
    """Sum over axes, which stay with size 1."""
    return either(tg.reduce_sum(x, axes=axes, keepdims=True), tg.unsqueeze(tg.reduce_sum(x, axes=axes), axes=axes))


def mean(x: Any, count: Any, inverse: Any) -> Any:
    """Mean over the last axis, which stays with size 1; `norms.counts_right` checks the scalars `count` and `inverse`."""
    total = sum_of(x, LAST)
    return either(tg.reduce_mean(x, axes=LAST, keepdims=True), tg.unsqueeze(tg.reduce_mean(x, axes=LAST), axes=LAST),
                  total / count, total * inverse)


def over_root(x: Any, v: Any) -> Any:
    """x / sqrt(v)."""
    root = either(tg.sqrt(v), v ** 0.5)
    return either(x * tg.rsqrt(v), x / root, x * tg.reciprocal(root), x * (1.0 / root), x * v ** -0.5)


def inverse_root(v: Any) -> Any:
    """1 / sqrt(v)."""
    root = either(tg.sqrt(v), v ** 0.5)
    return either(tg.rsqrt(v), 1.0 / root, tg.reciprocal(root), v ** -0.5)


def half_precision(match: Match) -> str | None:
    """Reject casts around an op unless they go from a half precision to f32 and back, as the op itself computes it."""
    x, inner, outer = match["x"], match["inner"], match["outer"]
    if x.dtype.bits != 16 or inner.name != "f32" or outer != x.dtype:
        return f"from {x.dtype} over {inner} to {outer} is not how an op of one type rounds"
    for name in ("weight", "bias"):
        given = match.names.get(name)
        if given is not None and given.dtype != x.dtype:
            return f"the {name} is {given.dtype} and would be rounded to {x.dtype}"
    return None
