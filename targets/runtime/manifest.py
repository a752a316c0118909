"""The manifest of an archive: a JSON object whose fields, and their types, are all known before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tgraph.ir.errors import FormatError
from tgraph.ir.json_text import read_json

# The shape of a value: a type, a list of one shape for all elements, {str: shape} for any names, or a shape by name for these.
Shape = Any
Fields = Mapping[str, Shape]


def read_manifest(content: bytes, fields: Fields, where: str) -> dict[str, Any]:
    """The object that has exactly these fields. Raises FormatError that names the first one that is not as it should be."""
    found = read_json(content, f"{where} is damaged: the manifest", pairs=_unique)
    problem = _problem(found, fields, "the manifest")
    if problem is not None:
        raise FormatError(f"{where} is damaged, or of another tgraph: {problem}")
    return dict(found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _problem(value: Any, shape: Shape, name: str) -> str | None:
    """What is wrong with a value; None if nothing is."""
    if isinstance(shape, type):
        wrong = not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool)
        return f"{name} is {type(value).__name__}, not {shape.__name__}" if wrong else None
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} is {type(value).__name__}, not a list"
        parts = [(element, shape[0], f"{name}[{i}]") for i, element in enumerate(value)]
    elif not isinstance(value, dict):
        return f"{name} is {type(value).__name__}, not an object"
    elif str in shape:
        parts = [(part, shape[str], f"{name}.{key}") for key, part in value.items()]
    elif value.keys() != shape.keys():
        return f"{name} has the fields {', '.join(value)}, not {', '.join(shape)}"
    else:
        parts = [(part, shape[key], f"{name}.{key}") for key, part in value.items()]
    return next((problem for part in parts if (problem := _problem(*part)) is not None), None)
