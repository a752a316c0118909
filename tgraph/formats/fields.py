"""Checked access to JSON values: each error says where in the tree it is, and what was expected there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..ir.errors import FormatError, TGraphError

_KINDS: Mapping[type, str] = {dict: "an object", list: "a list", str: "a string", int: "an integer", bool: "true or false"}


@contextmanager
def at(place: str) -> Iterator[None]:
    """Context that adds this place of the tree to errors."""
    try:
        yield
    except TGraphError as error:
        raise FormatError(f"{place}: {error}") from None


def of_kind(value: Any, kind: type, what: str) -> Any:
    """The value, if it is of the kind that is expected. Raises FormatError."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(f"expected {_KINDS[kind]} for {what}, found {shown(value)}")
    return value


def field(entry: Any, name: str, kind: type) -> Any:
    """The field of an object. Raises FormatError if it is missing or of another kind."""
    of_kind(entry, dict, f"what has a field {name!r}")
    if name not in entry:
        raise FormatError(f"expected a field {name!r}, found {', '.join(map(repr, entry)) or 'none'}")
    return of_kind(entry[name], kind, repr(name))


def entries(entry: Any, name: str, kind: type = dict) -> list[Any]:
    """The field of an object, which is a list of values of one kind. Raises FormatError."""
    return [of_kind(item, kind, f"each of {name!r}") for item in field(entry, name, list)]


def known(table: Mapping[Any, Any], key: Any, what: str) -> Any:
    """The entry of a table for a name or number. Raises FormatError if there is none."""
    if not isinstance(key, (str, int)) or isinstance(key, bool) or key not in table:
        raise FormatError(f"there is no {what} {shown(key)} before it")
    return table[key]


def shown(value: Any) -> str:
    """A value as JSON, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:39] + "\u2026"
