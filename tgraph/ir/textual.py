"""The text form of graphs and programs, and what rests on it: equality, fingerprints, files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .file_formats import write
from .printer import print_graphs

if TYPE_CHECKING:
    from .graph import Graph


class Textual:
    """Base class of `Graph` and `Program`."""

    def named_graphs(self) -> Mapping[str, Graph]:
        """The graphs that the text shows, in order, by the names that they have there."""
        raise NotImplementedError

    def text(self, *, scopes: bool = False, locations: bool = False, ranges: bool = True) -> str:
        """The text form, functions first; with scopes (`in ...`) and source lines (`at ...`) if asked for.

        Without the value ranges of inputs it is the canonical text that `==` and fingerprints compare.
        """
        return print_graphs(self.named_graphs(), scopes=scopes, locations=locations, ranges=ranges)

    def __str__(self) -> str:
        return self.text()

    def __eq__(self, other: object) -> bool:
        """Whether the canonical texts are the same."""
        return isinstance(other, type(self)) and (self is other or self.text(ranges=False) == other.text(ranges=False))

    __hash__ = object.__hash__

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical text."""
        return hashlib.sha256(self.text(ranges=False).encode()).hexdigest()

    def dump(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write to a file in the format of its suffix (.tg .json .dot .svg ...)."""
        write(self, path, **options)

    save = dump
