"""Libraries that are not mapped: what would map one raises instead, so that a test sees which files get that far."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

from targets.runtime.library import Library


class Mapped(Exception):
    """Code was about to be mapped."""


@contextlib.contextmanager
def no_code_is_mapped(error: type[BaseException] = Mapped) -> Iterator[None]:
    """Context in which loading a library is an error of this class."""
    load = Library.load

    def refuse(_: Library) -> NoReturn:
        raise error("code would be mapped now")

    Library.load = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        Library.load = load  # type: ignore[method-assign]
