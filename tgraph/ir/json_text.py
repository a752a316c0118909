"""JSON that anybody may have written, as values or as an error that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import FormatError

Pairs = Callable[[list[tuple[str, Any]]], Any]


def read_json(content: bytes, where: object, what: str = "JSON", pairs: Pairs | None = None) -> Any:
    """The value of a text. `where`: its file, `what`: what it should be, in errors; `pairs`: makes the objects.

    Raises FormatError for what is no UTF-8 or no JSON, is nested deeper than Python reads, or has an integer of too many digits.
    """
    try:
        return json.loads(content.decode(), object_pairs_hook=pairs)
    except RecursionError:
        raise FormatError(f"{where} is no {what}: it is nested too deep") from None
    except ValueError as error:  # of json, of UTF-8, and of int() for more than 4300 digits
        raise FormatError(f"{where} is no {what}: {error}") from None


def json_object(path: Path) -> dict[str, Any]:
    """The object in a file. Raises FormatError as `read_json` does and for any other value, and OSError if there is no file."""
    value = read_json(path.read_bytes(), path)
    if not isinstance(value, dict):
        raise FormatError(f"{path} holds no object, but {type(value).__name__}")
    return value
