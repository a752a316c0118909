"""The text form of graphs and programs, and what rests on it: equality, fingerprints, files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .file_formats import write
from .folded_text import folded_text
from .folding import Fold
from .levels import DEFAULT_LEVEL
from .printer import print_graphs
from .viewing import page_writer, show

if TYPE_CHECKING:
    from .graph import Graph
    from .values import Node


class Textual:
    """Base class of `Graph` and `Program`."""

    def named_graphs(self) -> Mapping[str, Graph]:
        """The graphs that the text shows, in order, by the names that they have there."""
        raise NotImplementedError

    def text(self, *, scopes: bool = False, locations: bool = False, ranges: bool = True, fold: Fold = False) -> str:
        """The text form, functions first; with scopes (`in ...`) and source lines (`at ...`) if asked for.

        Without the value ranges of inputs it is the canonical text that `==` and fingerprints compare.

        fold: a shorter text for people, by scope, in which layers that are alike stand once ("x 12"). A number opens so many
        levels of scopes, True as many as fit a screen. Its first line says that it does not parse. Raises GraphError below 0.
        """
        if fold is not False:
            return folded_text(self.named_graphs(), fold, locations=locations)
        return print_graphs(self.named_graphs(), scopes=scopes, locations=locations, ranges=ranges)

    def __str__(self) -> str:
        return self.text()

    def __eq__(self, other: object) -> bool:
        """Whether the canonical texts are the same."""
        return isinstance(other, type(self)) and (self is other or self.text(ranges=False) == other.text(ranges=False))

    def __hash__(self) -> int:
        return object.__hash__(self)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical text."""
        return hashlib.sha256(self.text(ranges=False).encode()).hexdigest()

    def dump(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write to a file in the format of its suffix (.tg .json .dot .svg ...)."""
        write(self, path, **options)

    save = dump

    def view(self, path: str | os.PathLike[str] | None = None, *, open: bool | None = None, pipeline: Any = DEFAULT_LEVEL,
             sizes: Mapping[str, int] | None = None, overlays: Mapping[str, Mapping[Node, float]] | None = None,
             title: str = "") -> Path:
        """Write one HTML page to explore the graph in, before, during and after passes; it loads nothing. Returns its path.

        path: by default a temporary file, which opens in a browser; open: whether to open it. pipeline: a level, a pipeline text,
        or "" for the graph as it is. sizes: of symbolic dims, to show costs at. overlays: numbers of your own to colour nodes
        by, by name and node of this graph. Raises PassError as `optimize` does, and GraphError for nodes of another graph.
        """
        return show(lambda place: page_writer()(self, place, pipeline=pipeline, sizes=sizes, overlays=overlays, title=title),
                    title or ", ".join(self.named_graphs()), path, open)
