"""The table of file formats, by suffix."""

from __future__ import annotations

import contextlib
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..ir.errors import FormatError, GraphError
from ..ir.graph import Graph
from ..ir.program import Program, only_graph
from .disk import writing


@dataclass(frozen=True)
class Format:
    """`write(obj, path, **options)` and `read(path, **options)`; a format may have one of the two only."""

    suffix: str
    summary: str
    write: Callable[..., None] | None
    read: Callable[..., Any] | None


FORMATS: dict[str, Format] = {}


def format(suffix: str) -> Callable[[type], type]:
    """Register a class with static methods `write` and/or `read` for files whose names end in `suffix`."""

    def register(definition: type) -> type:
        summary = (inspect.getdoc(definition) or "").split("\n", 1)[0]
        FORMATS[suffix] = Format(suffix, summary, getattr(definition, "write", None), getattr(definition, "read", None))
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


def single_graph(obj: Any, graph: str | None = None) -> Graph:
    """The graph to draw: the object itself, or one of a program by name, which may be left out if it is the only one."""
    if not isinstance(obj, (Graph, Program)):
        raise FormatError(f"expected a Graph or a Program, got {type(obj).__name__}")
    if graph is None or isinstance(obj, Graph):
        return only_graph(obj, FormatError, "graph={name}")
    try:
        return obj[graph]
    except GraphError as error:
        raise FormatError(f"{error}; choose one with graph=...") from None


@contextlib.contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when all is written; on an error `path` stays as it was.

    `needed`: the bytes that it will have, if that is known. Raises DiskError if they find no room.
    """
    with writing(str(path), path.parent, needed), _beside(path) as temporary:
        with open(temporary, "w+b") as file:
            yield file
        with contextlib.suppress(OSError):  # a file system without permissions keeps those of mkstemp
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
        temporary.replace(path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """An empty file in the folder of `path`, which is gone if what follows fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.close(descriptor)
        yield Path(name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _find(path: str | os.PathLike[str], action: str) -> Format:
    name = Path(path).name
    able = {s: f for s, f in sorted(FORMATS.items()) if getattr(f, action) is not None}
    for suffix in sorted(able, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return able[suffix]
    raise FormatError(f"cannot {action} {os.fspath(path)!r}: no format for this suffix; known: {', '.join(able)}")


def _check_options(function: Callable[..., Any], suffix: str, action: str, options: dict[str, Any]) -> None:
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise FormatError(f"{suffix} has no option {name!r} to {action} with; known: {', '.join(known) or 'none'}")
