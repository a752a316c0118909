"""The package `tgraph` for patterns and replacements of rules, untyped: `from passes.language import tg`."""

from __future__ import annotations

from typing import Any

import tgraph

# pattern functions call ops on patterns, which the types of the ops do not allow
tg: Any = tgraph
