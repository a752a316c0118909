"""The origin of a node: its scope in the model and the line of Python that made it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
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


def scope_names(scope: str) -> tuple[str, ...]:
    """The names in a scope, outermost first: of `encoder.layer.3`, or of `/encoder/layer.3/MatMul` as ONNX models have it."""
    return tuple(name for name in scope.split("/" if "/" in scope else ".") if name)


def join_scope(names: Sequence[str], like: str) -> str:
    """The inverse of `scope_names`, written like another scope of the same model."""
    first = "/" if like.startswith("/") and names else ""
    return first + ("/" if "/" in like else ".").join(names)


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
        if len(self.scopes) < 2:
            return self.scopes[0] if self.scopes else ""
        common = []
        for level in zip(*map(scope_names, self.scopes)):
            if len(set(level)) > 1:
                break
            common.append(level[0])
        return join_scope(common, self.scopes[0])

    def describe(self) -> str:
        """`in encoder.layer.0 at model.py:31`, or "" if nothing is known; full paths, for error messages."""
        words = []
        if any(self.scopes):
            words.append("in " + ", ".join(s for s in self.scopes if s))
        if self.locations:
            words.append("at " + ", ".join(f"{loc.file}:{loc.line}" for loc in self.locations))
        return " ".join(words)


NOWHERE = Provenance()
