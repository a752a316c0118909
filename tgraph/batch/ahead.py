"""Work on the next item while this one is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

from targets.base.threads import Thread

T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each of which is made, in a thread, while the one before it is used: no more than one waits."""

    def begin() -> Thread[object]:
        thread = Thread(lambda: next(items, _END))
        thread.start()
        return thread

    making = begin()
    try:
        while (item := making.result()) is not _END:
            making = begin()
            yield item  # type: ignore[misc]
    finally:
        with contextlib.suppress(Exception):  # which has come out above, or is of an item that nobody wants
            making.result()
