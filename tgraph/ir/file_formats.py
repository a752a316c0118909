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
from .json_text import read_json


@dataclass(frozen=True)
class Format:
    """What can be done with files of one suffix; None for what cannot.

    `write(obj, path, **options)` and `read(path, **options)` are of graphs and programs, `render(graph, **options)` is the text
    that `write` would put into a file, and `arrays(path)` reads named arrays from a file of weights.
    """

    suffix: str
    summary: str
    write: Callable[..., None] | None
    read: Callable[..., Any] | None
    render: Callable[..., str] | None = None
    arrays: Callable[..., Mapping[str, np.ndarray]] | None = None


FORMATS: dict[str, Format] = {}
"""The formats by the suffixes of their files."""
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


def render(obj: Any, suffix: str, **options: Any) -> str:
    """What a file of that suffix would hold, as text."""
    function = _table()[suffix].render
    assert function is not None
    return function(obj, **options)


def read_arrays(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray]:
    """Arrays by name from a file of weights, or from the index of a sharded checkpoint (`*.index.json`).

    A suffix that is no format's stands for safetensors. Raises FormatError or OSError.
    """
    table, name = _table(), Path(path).name.lower()
    if name.endswith(".json"):
        return _read_shards(Path(path))
    suffix = next((s for s, f in table.items() if f.arrays is not None and name.endswith(s)), ".safetensors")
    function = table[suffix].arrays
    assert function is not None
    return function(path)


def _read_shards(index: Path) -> Mapping[str, np.ndarray]:
    """The arrays of all files that an index names in its `weight_map`; they lie beside it."""
    found = read_json(index.read_bytes(), index, "index of files of weights")
    shards = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
        raise FormatError(f"{index} is no index of files of weights: it has no 'weight_map' from names to files")
    for file in set(shards.values()):
        if file.lower().endswith(".json"):
            raise FormatError(f"{index} names {file!r}: an index names files of weights, not another index")
        if Path(file).name != file or not is_file(index.parent / file):
            raise FormatError(f"{index} names {file!r}, which is no file beside it")
    files = {file: read_arrays(index.parent / file) for file in sorted(set(shards.values()))}
    for name, file in shards.items():
        if name not in files[file]:
            raise FormatError(f"{index} is no index of files of weights: {file} does not hold {name!r}")
    return {name: files[file][name] for name, file in shards.items()}


def is_file(path: Path) -> bool:
    """Whether there is a file that a file names; of a name that is too long, or has a NUL, there is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


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
