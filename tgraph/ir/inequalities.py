"""Lower bounds of size expressions, and the canonical form of an inequality between two of them."""

from __future__ import annotations

from math import gcd

from .dims import Dim, DimLike, Quotient, bounds

Inequality = tuple[DimLike, DimLike]  # (left, right): left >= right at run time


def lower_bound(value: DimLike) -> int | None:
    """A number that `value` is never below; None if none can be derived.

    By interval arithmetic, and because n//m lies between (n - m + 1) / m and n / m: S - S//2 is at least 0.
    """
    if isinstance(value, int):
        return value
    low = bounds(value)[0]
    for monomial, coefficient in value.terms:
        (factor, power), *others = monomial or ((None, 0),)
        if not isinstance(factor, Quotient) or others or power != 1 or not isinstance(factor.denominator, int):
            continue
        m = factor.denominator
        rest = value - coefficient * Dim({monomial: 1})
        # m value, with m times the quotient at that end of its range at which the term is least
        found = lower_bound(m * rest + coefficient * (factor.numerator - (m - 1 if coefficient > 0 else 0)))
        if found is not None and (low is None or -(-found // m) > low):
            low = -(-found // m)
    return low


def is_nonnegative(value: DimLike) -> bool:
    """Whether `value` is known to be at least 0 for all sizes."""
    low = lower_bound(value)
    return low is not None and low >= 0


def canonical(left: DimLike, right: DimLike) -> Inequality:
    """left >= right without common terms, minus signs or a common factor: S-5 >= 0 is S >= 5, and 2*S >= 2*T+3 is S >= T+2."""
    difference = left - right
    terms = difference.terms if isinstance(difference, Dim) else (((), difference),)
    factor = gcd(*(c for m, c in terms if m)) or 1
    sides: list[DimLike] = [0, 0]
    for monomial, coefficient in terms:
        amount = coefficient // factor  # of the constant: rounded down, which says the same of integers
        sides[amount < 0] = sides[amount < 0] + abs(amount) * (Dim({monomial: 1}) if monomial else 1)
    return sides[0], sides[1]
