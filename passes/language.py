"""The language as rules use it: `from passes.language import tg`, then `tg.softmax(x)`."""

from __future__ import annotations

from typing import Any

import tgraph

# ops are found by name when they are asked for, and pattern functions have no types: a checker has nothing to say
tg: Any = tgraph
