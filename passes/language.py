"""The language as rules use it: `from passes.language import tg`, then `tg.softmax(x)`."""

from __future__ import annotations

from typing import Any

import tgraph

# Ops are found by name when they are asked for, and the pattern functions have no types: a checker can say nothing here.
tg: Any = tgraph
