"""Pipelines as text, `name{key=value,key=value},name`, and the levels O0 to O3, which are such texts."""

from __future__ import annotations

import dataclasses
import re
import typing
from typing import Any

from tgraph.ir.errors import PassError

from .base import Pass, find_pass

LEVELS: dict[str, str] = {
    "O0": "",
    "O1": "fold-constants,cse,dce",
    "O2": "fold-constants,cse,fuse-qkv,fuse-bias-activation,dce",
    "O3": "fold-constants,cse,fuse-qkv,fuse-bias-activation,cse,dce",
}

_ITEM = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:\{([^{}]*)\})?\s*(,|$)")


def parse_pipeline(text: str) -> list[Pass]:
    """The passes that a level or a pipeline text names. Raises PassError that says where the text is wrong."""
    if text.strip() in LEVELS:
        text = LEVELS[text.strip()]
    passes: list[Pass] = []
    position = 0
    while position < len(text.rstrip()):
        match = _ITEM.match(text, position)
        if match is None:
            raise PassError(f"pipeline {text!r}: expected name or name{{key=value}} at character {position + 1}, "
                            f"found {text[position:position + 20]!r}; levels are {', '.join(LEVELS)}")
        passes.append(_create(match.group(1), match.group(2) or ""))
        position = match.end()
    return passes


def _create(name: str, options: str) -> Pass:
    cls = find_pass(name)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    types = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key not in fields:
            raise PassError(f"pass {name}: no option {item!r}; options: {', '.join(fields) or 'none'}")
        values[key] = _value(name, key, value, types[key])
    return cls(**values)


def _value(name: str, key: str, text: str, type: Any) -> Any:
    if type is bool:
        if text not in ("true", "false"):
            raise PassError(f"pass {name}: option {key} is true or false, got {text!r}")
        return text == "true"
    if type in (int, float):
        try:
            return type(text)
        except ValueError:
            raise PassError(f"pass {name}: option {key} is {type.__name__}, got {text!r}") from None
    return text
