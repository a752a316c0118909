"""Work on the next item while this one is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each of which is made, in a thread, while the one before it is used: no more than one waits."""
    with ThreadPoolExecutor(1, "tgraph-ahead") as pool:
        made = pool.submit(next, items, _END)
        while (item := made.result()) is not _END:
            made = pool.submit(next, items, _END)
            yield item  # type: ignore[misc]
