"""Spellings that several fusions look for (squares, halves, means, division by a root), and what they ask of them."""

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
    """Sum over axes, which stay as 1."""
    return either(tg.reduce_sum(x, axes=axes, keepdims=True), tg.unsqueeze(tg.reduce_sum(x, axes=axes), axes=axes))


def mean(x: Any, count: Any, inverse: Any) -> Any:
    """Mean over the last axis, which stays as 1; `count` and `inverse` are scalars that `counts_right` looks at."""
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


def counts_right(match: Match) -> str | None:
    """Refuse a mean that is a sum over something else than the number of elements."""
    size = match["x"].shape[-1]
    if match.names.get("count", size) != size:
        return f"the sum is divided by {match['count']}, but the last axis has {size} elements"
    inverse = match.names.get("inverse")
    if inverse is not None and not (isinstance(size, int) and abs(inverse * size - 1) <= 1e-6):
        return f"the sum is multiplied by {inverse}, but the last axis has {size} elements"
    return None


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
    """Both of these conditions."""
    return counts_right(match) or one_a_column(match)
