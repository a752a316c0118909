"""The names of the language, `tg.name`: tables that the packages above fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .ir.registry import OPS

FUNCTIONS: dict[str, Callable[..., Any]] = {}  # functions on tensors that are no ops; `tgraph.functions` registers them
NAMES: set[str] = set()  # everything that is neither op nor function; `tgraph/__init__.py` registers them


def public_names() -> list[str]:
    """All names that `tg.` has, sorted."""
    return sorted({*NAMES, *FUNCTIONS, *OPS})
