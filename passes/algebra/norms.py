"""Rules and conditions that `fuse-layer-norm` and `fuse-rms-norm` share: both are centred(x) / sqrt(spread(x) + epsilon)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from passes.algebra.scalars import as_written
from passes.algebra.variants import inverse_root, over_root
from passes.matching import Match
from passes.patterns import Rule, attribute, either, maybe, rule, scalar

ANY = attribute()
NUMBER = scalar()
EPSILON = scalar(lambda e: e >= 0)


def norm_rules(norm: Callable[..., Any], equation: tuple[str, str, str], centred: Callable[..., Any],
               spread: Callable[..., Any]) -> tuple[Rule, Rule, Rule]:
    """Rules for a norm without a weight, with a weight inside, and with a weight after it.

    `equation` names centred(x), spread(x) and the norm. The functions `centred` and `spread` make patterns of x and of the
    scalars that their means divide by or multiply with, which `counts_right` checks.
    """
    top, bottom, name = equation

    def root(x, epsilon, count, inverse):  # type: ignore[no-untyped-def]
        return maybe(lambda v: v + epsilon, spread(x, count, inverse))

    return (
        rule(f"{top} / sqrt({bottom} + epsilon) = {name}(x)",
             lambda x, epsilon=EPSILON, count=NUMBER, inverse=NUMBER: over_root(
                 centred(x, count, inverse), root(x, epsilon, count, inverse)),
             lambda x, epsilon: norm(x, epsilon=as_written(epsilon, x.dtype)), where=counts_right),
        rule(f"{top} w / sqrt({bottom} + epsilon) = {name}(x, w)",
             lambda x, weight, epsilon=EPSILON, count=NUMBER, inverse=NUMBER: either(
                 over_root(centred(x, count, inverse) * weight, root(x, epsilon, count, inverse)),
                 centred(x, count, inverse) * (inverse_root(root(x, epsilon, count, inverse)) * weight)),
             lambda x, weight, epsilon: norm(x, weight, epsilon=as_written(epsilon, x.dtype)), where=counts_and_columns),
        rule(f"{name}(x) w = {name}(x, w)",
             lambda x, weight, epsilon=ANY: norm(x, epsilon=epsilon) * weight,
             lambda x, weight, epsilon: norm(x, weight, epsilon=epsilon), where=one_a_column),
    )


def counts_right(match: Match) -> str | None:
    """Reject a sum as a mean if it is divided by something else than the number of elements."""
    size = match["x"].shape[-1]
    if match.names.get("count", size) != size:
        return f"the sum is divided by {match['count']}, but the last axis has {size} elements"
    inverse = match.names.get("inverse")
    if inverse is not None and not (isinstance(size, int) and abs(inverse * size - 1) <= 1e-6):
        return f"the sum is multiplied by {inverse}, but the last axis has {size} elements"
    return None


def one_a_column(match: Match) -> str | None:
    """Reject a weight or bias that does not have one element for each column of x."""
    x = match["x"]
    for name in ("weight", "bias"):
        given = match.names.get(name)
        if given is not None and given.shape != x.shape[-1:]:
            return f"the {name} is {given.type}, not one number for each of the {x.shape[-1]} columns"
    return None


def counts_and_columns(match: Match) -> str | None:
    """`counts_right` and `one_a_column`."""
    return counts_right(match) or one_a_column(match)
