"""The table of file formats, by suffix. Ours are in `tgraph.formats`; a user's file registers its own with `@format`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FormatError


@dataclass(frozen=True)
class Format:
    """What can be done with files of one suffix; None for what cannot.

    `write(obj, path, **options)` and `read(path, **options)` are of graphs and programs, `render(graph)` is the text that `write`
    would put into a file, and `arrays(path)` reads named arrays from a file of weights.
    """

    suffix: str
    summary: str
    write: Callable[..., None] | None
    read: Callable[..., Any] | None
    render: Callable[..., str] | None = None
    arrays: Callable[..., Mapping[str, np.ndarray]] | None = None


FORMATS: dict[str, Format] = {}
_missing: list[Callable[[], object]] = []


def on_first_use(register: Callable[[], object]) -> None:
    """Have `register` called before the table is read for the first time: it loads formats that are not there yet."""
    _missing.append(register)


def format(suffix: str) -> Callable[[type], type]:
    """Register a class with static methods, such as `write` and `read` (see `Format`), for files whose names end in `suffix`."""

    def register(definition: type) -> type:
        summary = (inspect.getdoc(definition) or "").split("\n", 1)[0]
        FORMATS[suffix] = Format(suffix, summary, *(getattr(definition, a, None) for a in ("write", "read", "render", "arrays")))
        return definition

    return register


def write(obj: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a graph or program in the format of the path's suffix.

    Raises FormatError for an unknown suffix or option, and where the format cannot hold the object.
    """
    found = _find(path, "write")
    assert found.write is not None
    _check_options(found.write, found.suffix, "write", options)
    found.write(obj, Path(path), **options)


def read(path: str | os.PathLike[str], **options: Any) -> Any:
    """Read a file in the format of its suffix: a Graph, or a Program where the file holds several.

    Raises FormatError for an unknown suffix or a damaged file, and OSError if there is none.
    """
    found = _find(path, "read")
    assert found.read is not None
    _check_options(found.read, found.suffix, "read", options)
    return found.read(Path(path), **options)


def render(obj: Any, suffix: str) -> str:
    """What a file of that suffix would hold, as text."""
    function = _table()[suffix].render
    assert function is not None
    return function(obj)


def read_arrays(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray]:
    """Arrays by name from a `.safetensors` file, or the index of a sharded checkpoint. Raises FormatError or OSError."""
    function = _table()[".safetensors"].arrays
    assert function is not None
    return function(path)


def _table() -> Mapping[str, Format]:
    while _missing:
        _missing[-1]()
        _missing.pop()
    return FORMATS


def _find(path: str | os.PathLike[str], action: str) -> Format:
    name = Path(path).name
    able = {s: f for s, f in sorted(_table().items()) if getattr(f, action) is not None}
    for suffix in sorted(able, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return able[suffix]
    raise FormatError(f"cannot {action} {os.fspath(path)!r}: no format for this suffix; known: {', '.join(able)}")


def _check_options(function: Callable[..., Any], suffix: str, action: str, options: dict[str, Any]) -> None:
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise FormatError(f"{suffix} has no option {name!r} to {action} with; known: {', '.join(known) or 'none'}")
