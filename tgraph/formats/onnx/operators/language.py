"""The language's functions, for importers: `t.softmax(x, axis=-1)`."""

from __future__ import annotations

from typing import Any

from ....functions import function_of


class _Language:
    def __getattr__(self, name: str) -> Any:
        found = function_of(name)
        if found is None:
            raise AttributeError(name)
        return found


t: Any = _Language()
