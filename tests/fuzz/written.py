"""The table of strategies that are written down, by op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.maker import Maker

Strategy = Callable[[Maker], Any]
WRITTEN: dict[str, Strategy] = {}


def written(function: Strategy) -> Strategy:
    """Register the strategy of the op that the function is named after."""
    WRITTEN[function.__name__.rstrip("_")] = function
    return function
