"""The table of strategies that are written down, by op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tgraph.testing.generator.maker import Maker

Strategy = Callable[[Maker], Any]
S = TypeVar("S", bound=Strategy)
WRITTEN: dict[str, Strategy] = {}


def strategy(op: str) -> Callable[[S], S]:
    """Say how random programs apply an op of yours: `@tgraph.testing.strategy("row_range")`.

    The function is given a Maker, whose `b` applies ops, and returns the results, or raises RuleError where it does not fit. An
    elementwise op without attributes needs none: its type rule says enough.
    """

    def register(function: S) -> S:
        WRITTEN[op] = function
        return function

    return register


def written(function: S) -> S:
    """Register the strategy of the op that the function is named after."""
    return strategy(function.__name__.rstrip("_"))(function)
