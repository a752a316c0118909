"""The origin of a node: its scope in the model and the line of Python that made it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Location:
    """A line of source code; `file` as the interpreter names it."""

    file: str
    line: int

    @property
    def name(self) -> str:
        """The file without its folders."""
        return os.path.basename(self.file)

    def __str__(self) -> str:
        return f"{self.name}:{self.line}"


@dataclass(frozen=True)
class Provenance:
    """The scopes (`encoder.layer.3.attention`) and source lines that a node comes from.

    A traced node has one of each; a node that a pass made from several has those of all of them.
    """

    scopes: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()

    @classmethod
    def merge(cls, parts: Iterable[Provenance]) -> Provenance:
        """The union of several, in order of first appearance."""
        scopes: dict[str, None] = {}
        locations: dict[Location, None] = {}
        for part in parts:
            scopes.update(dict.fromkeys(part.scopes))
            locations.update(dict.fromkeys(part.locations))
        return cls(tuple(scopes), tuple(locations))

    @property
    def scope(self) -> str:
        """The innermost scope that contains all scopes ("" for the top)."""
        if not self.scopes:
            return ""
        parts = [s.split(".") for s in self.scopes]
        common = []
        for level in zip(*parts):
            if len(set(level)) > 1:
                break
            common.append(level[0])
        return ".".join(common)

    def describe(self) -> str:
        """`in encoder.layer.0 at model.py:31`, or "" if nothing is known; full paths, for error messages."""
        words = []
        if any(self.scopes):
            words.append("in " + ", ".join(s for s in self.scopes if s))
        if self.locations:
            words.append("at " + ", ".join(f"{loc.file}:{loc.line}" for loc in self.locations))
        return " ".join(words)


NOWHERE = Provenance()
