"""What a command answers, in one way for all: as JSON for programs (`--json`), or as tables and text for people.

A command collects its answer as plain data, and says how to show it:

    @click.command("count")
    @click.argument("source")
    @json_option({"nodes": "integer: how many nodes the graph has", "ops": {"<op>": "integer: how often it is applied"}})
    def command(source: str, as_json: bool) -> None:
        found = {"nodes": 3, "ops": {"add": 3}}
        answer(found, as_json, lambda out: out.print(table("Ops", ("op", ">times"), found["ops"].items())))

The argument of `json_option` is the answer's *shape*: what is at each place, as "TYPE: meaning". TYPE is string, integer, number,
boolean, any, or `dim` (an integer, or a text such as "B*S" where a size is symbolic); "TYPE or null" where there may be nothing.
[shape] is a list, {"<what the keys are>": shape} an object with free keys; all other keys are always there. Shapes are promises:
fields may be added, not removed or changed. They make `--json-schema` and docs/cli.md, and tests hold the answers to them.

All of standard output is one JSON object with the command's name in "command". Progress, warnings and errors go to standard
error, and the exit status is the same as without --json.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

Shape = Any  # str | list of one Shape | dict of Shapes
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NOT_FINITE = ["inf", "-inf", "nan"]  # JSON has no numbers for these
_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"}, "integer": {"type": "integer"}, "boolean": {"type": "boolean"}, "any": {},
    "number": {"anyOf": [{"type": "number"}, {"enum": _NOT_FINITE}]},
    "dim": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
}


def json_option(shape: Mapping[str, Shape]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--json`, whose value arrives as `as_json`, and `--json-schema`; `shape` says what the answer is made of."""

    def print_schema(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
        if wanted:
            click.echo(json.dumps(schema_of(shape, ctx.info_name or ""), indent=2))
            ctx.exit()

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = click.option("--json-schema", is_flag=True, is_eager=True, expose_value=False, callback=print_schema,
                                help="Print the JSON Schema of what --json prints.")(function)
        function = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, for programs.")(function)
        function.answer_shape = shape  # type: ignore[attr-defined]
        return function

    return decorate


def shape_of(command: click.Command) -> Mapping[str, Shape] | None:
    """The shape of a command's answer; None if it has no --json."""
    found: Mapping[str, Shape] | None = getattr(command.callback, "answer_shape", None)
    return found


def answer(data: Mapping[str, Any], as_json: bool, show: Callable[[Console], object] | None = None) -> None:
    """Print an answer on standard output: `data` as one JSON object, or what `show` prints on the console that it is given."""
    if as_json or show is None:
        context = click.get_current_context()
        text = json.dumps(plain({"command": context.info_name, **data}), indent=2, ensure_ascii=False, allow_nan=False)
        click.echo(text.encode("utf-8", "backslashreplace") + b"\n", nl=False)
        return
    from tgraph.cli.console import console

    show(console())


def written(*files: Path) -> list[dict[str, Any]]:
    """Files that a command wrote, as answers list them: `[{"file": "string: ...", "bytes": "integer: ..."}]`."""
    return [{"file": str(path), "bytes": path.stat().st_size} for path in files]


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses are objects, sizes and types text, floats that JSON lacks "inf", "-inf", "nan"."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def schema_of(shape: Mapping[str, Shape], command: str) -> dict[str, Any]:
    """The JSON Schema of what a command prints with --json."""
    schema = _schema({"command": "string: the name of the command", **shape})
    schema["properties"]["command"] = {"const": command}
    return {"$schema": DRAFT, "title": f"tgraph {command} --json", **schema}


def _schema(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, list):
        return {"type": "array", "items": _schema(shape[0])}
    if isinstance(shape, str):
        kind, _, meaning = shape.partition(": ")
        name, null, _ = kind.partition(" or null")
        found = _TYPES[name]
        return {**({"anyOf": [found, {"type": "null"}]} if null else found), "description": meaning}
    free = [key for key in shape if key.startswith("<")]
    if free:
        return {"type": "object", "additionalProperties": _schema(shape[free[0]])}
    return {"type": "object", "properties": {key: _schema(inner) for key, inner in shape.items()}, "required": list(shape)}


def rows_of(shape: Shape, place: str = "") -> Iterator[tuple[str, str, str]]:
    """(place, type, meaning) of everything in a shape, for a table: `kernels[].calls`, `integer`, `how often it is called`."""
    if isinstance(shape, list):
        yield from rows_of(shape[0], f"{place}[]")
    elif isinstance(shape, str):
        kind, _, meaning = shape.partition(": ")
        yield place, kind, meaning
    else:
        for key, inner in shape.items():
            yield from rows_of(inner, f"{place}.{key}" if place else key)
