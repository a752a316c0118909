"""Graphs: the text form, the data beside it, and JSON."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from random import Random

import numpy as np

import tgraph as tg
from tests.hostile.mutate import mutate_json, mutate_words
from tests.hostile.parser import Parser
from tests.hostile.parsers.arrays import _change_header
from tgraph.formats.json import to_json
from tgraph.formats.safetensors import tensor_parts
from tgraph.ir.errors import TGraphError
from tgraph.ir.parser import parse_program
from tgraph.ir.program import Program, as_program
from tgraph.ir.registry import OPS

GOLDEN = Path(__file__).parents[2] / "golden" / "passes"
LARGEST = 1500  # bytes of a sound text to begin with


@functools.cache
def programs() -> list[Program]:
    """Small programs, of all ops that occur in the golden files of the passes."""
    halves = [half for file in sorted(GOLDEN.rglob("*.tg")) for half in file.read_text().split("# =>\n")]
    return [parse_program(half) for half in halves if 0 < len(half.strip()) < LARGEST]


def texts() -> list[bytes]:
    """Their texts, and some that show all of the grammar."""
    special = """graph g(state %k: f32[B, 4], %x: f32[2*B+1, 4], %i: i64[S].range(-3, 9)) -> (
  state k: f32[B, 4], y: f32[2*B+1, 4]) where 2 <= B <= 8, S >= B {
  param @w.0: f32[4] aliases [@v, @"a b"]
  const #0: f32[2, 2] = [[1.0, -inf], [nan, 1e-7]]
  %0 = add(%x, @w.0) : f32[2*B+1, 4]  in a.b, c at m.py:3, m.py:4
  return (state k: %k, y: %0)
}
"""
    return [special.encode(), *(program.text().encode() for program in programs())]


def _read_text(path: Path) -> object:
    """Read, and read what is printed of it: the same bytes."""
    found = as_program(tg.read(path), TGraphError)
    text = found.text(scopes=True, locations=True)
    assert parse_program(text).text(scopes=True, locations=True) == text
    return found


def _words() -> list[str]:
    return [*OPS, "f32", "i64", "bool", "bf16", "B", "S", "where", "param", "const", "return", "state", "true", "none", "inf",
            "axis", "//", "[]", "()", "-1", "in", "at", "call", "$f", "%0", "%x", "@w", "#0", "sha256:" + "0" * 64, "10" * 9]


def _change_text(data: bytes, random: Random) -> bytes:
    return mutate_words(data, random, _words())


def _json() -> list[bytes]:
    return [json.dumps(to_json(program)).encode() for program in programs()]


def _read_json(path: Path) -> object:
    return as_program(tg.read(path), TGraphError).text()


def _with_data() -> Program:
    """A graph with a parameter, and a constant that is too large for the text."""
    graph = tg.trace(lambda x: x @ np.arange(32, dtype="f").reshape(4, 8), x=tg.f32[tg.dim("B"), 4], name="g")
    return as_program(graph, TGraphError)


def _data() -> list[bytes]:
    constant, = next(iter(_with_data().graphs.values())).constants.values()
    assert constant.data is not None
    return [b"".join(p.tobytes() for p in tensor_parts("x", tensors, {"tgraph": "x"}))
            for tensors in ({f"sha256:{constant.digest}": constant.data}, {"w": np.zeros(3, "f")})]


def _text_beside(folder: Path) -> None:
    (folder / "x.tg").write_text(_with_data().text())


def _read_with_data(path: Path) -> object:
    return tg.read(path.with_suffix(".tg"))


PARSERS = {
    "text": Parser("x.tg", _read_text, texts, _change_text),
    "text-data": Parser("x.safetensors", _read_with_data, _data, _change_header, prepare=_text_beside, accepts=False),
    "json": Parser("x.json", _read_json, _json, mutate_json),
}
