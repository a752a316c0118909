"""Every public name has a docstring and a place in the reference."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tgraph as tg
from tgraph.public import FUNCTIONS, NAMES, OPS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md"))}
ENTRIES = [name for page in PAGES.values() for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)]
FACADES = ["tgraph", "tgraph.nn", "tgraph.models", "tgraph.formats", "tgraph.reference", "tgraph.generation", "tgraph.plot",
           "tgraph.testing", "tgraph.batch", "passes", "targets"]


def resolve(path: str) -> Any:
    """What an entry of the reference names, by the longest part of it that is a module."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ImportError(path)


def own_members(cls: type[Any]) -> list[tuple[str, Any]]:
    """The public methods and properties that a class of ours defines."""
    if cls.__module__.partition(".")[0] not in ("tgraph", "passes", "targets"):
        return []
    members = [(name, getattr(member, "__func__", member)) for name, member in vars(cls).items() if not name.startswith("_")]
    return [(name, m) for name, m in members if inspect.isroutine(m) or isinstance(m, property) or hasattr(m, "__set_name__")]


@pytest.mark.parametrize("facade", FACADES)
def test_every_public_name_has_a_place_in_the_reference(facade: str) -> None:
    found = [resolve(entry) for entry in ENTRIES]
    text = "\n".join(PAGES.values())
    for name in importlib.import_module(facade).__all__:
        thing = getattr(importlib.import_module(facade), name)
        listed = f"::: {facade}.{name}\n" in text or any(thing is entry for entry in found)
        named = isinstance(thing, ModuleType | tg.DType) and f"`tg.{name}`" in PAGES["tgraph"]
        assert listed or named, f"{facade}.{name} has no place in docs/reference: write `::: {facade}.{name}` there"


@pytest.mark.parametrize("facade", FACADES)
def test_every_public_name_has_a_docstring(facade: str) -> None:
    for name in importlib.import_module(facade).__all__:
        thing = getattr(importlib.import_module(facade), name)
        if not callable(thing) and not isinstance(thing, ModuleType):
            continue  # a table or an element type, which says what it is where it is defined
        if getattr(thing, "__module__", "") != "typing":
            assert inspect.getdoc(thing), f"{facade}.{name} has no docstring"
        for member, value in own_members(thing) if inspect.isclass(thing) else []:
            assert inspect.getdoc(value), f"{facade}.{name}.{member} has no docstring"


def test_every_op_and_function_is_on_the_page_of_ops() -> None:
    page = (DOCS / "ops.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^### `(\w+)\(", page, re.MULTILINE)) | set(re.findall(r"`(\w+)`", page))
    ops = {name for name, op in OPS.items() if op.infer.__module__.startswith("tgraph.")}
    assert ops | FUNCTIONS.keys() <= listed
    assert not NAMES & (OPS.keys() | FUNCTIONS.keys())


def test_every_entry_is_of_a_thing_and_stands_once() -> None:
    assert len({id(resolve(entry)) for entry in ENTRIES}) == len(ENTRIES) > 100
