"""Showing graphs in a browser: where `view` finds what makes the page, and how a page is opened."""

from __future__ import annotations

import os
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import GraphError

Writer = Callable[..., None]  # (graph or program, path, **options)
_writers: list[Callable[[], Writer]] = []


def writes_pages(load: Callable[[], Writer]) -> None:
    """Have `load` give the function that writes pages; it is called when the first is written."""
    _writers.append(load)


def page_writer() -> Writer:
    """The function that writes pages. Raises GraphError if none is known."""
    if not _writers:
        raise GraphError("nothing is there to write pages with; import tgraph first")
    return _writers[-1]()


def show(write: Callable[[Path], Any], name: str, path: str | os.PathLike[str] | None, open: bool | None) -> Path:
    """Write a page, by default into a temporary file, and open it in a browser, by default if it is such a one."""
    if path is None:
        letters = "".join(c if c.isalnum() else "-" for c in name)[:60] or "graph"
        place = Path(tempfile.mkdtemp(prefix="tgraph-")) / f"{letters}.html"
    else:
        place = Path(path)
    write(place)
    if path is None if open is None else open:
        webbrowser.open(place.resolve().as_uri())
    return place
