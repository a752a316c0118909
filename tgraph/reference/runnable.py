"""What the checks know of an executable, which is made in a layer above."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ..ir.graph import Graph


class Runnable(Protocol):
    """A graph that can be run: what was compiled, what passes made of it, and its weights."""

    @property
    def graph(self) -> Graph: ...

    @property
    def optimized(self) -> Graph: ...

    @property
    def weights(self) -> Mapping[str, np.ndarray]: ...

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]: ...
