"""The page on the text form: its examples are graphs, and print as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tgraph.ir.errors import ParseError
from tgraph.ir.lexer import _TOKEN
from tgraph.ir.parser import parse, parse_program

PAGE = (Path(__file__).parents[2] / "docs" / "text-format.md").read_text(encoding="utf-8")
BLOCKS = [(m["kind"], m["text"]) for m in re.finditer(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", PAGE,
                                                      re.MULTILINE | re.DOTALL)]
CANONICAL = [text.rstrip("\n") for kind, text in BLOCKS if kind == "tg"]


@pytest.mark.parametrize("text", CANONICAL, ids=[re.search(r"graph (\w+)", t)[1] for t in CANONICAL])
def test_an_example_prints_as_it_is_written(text: str) -> None:
    program = parse_program(text, file="docs/text-format.md")
    program.verify()
    assert program.text(scopes=True, locations=True) == text
    assert parse_program(str(program)) == program


def test_a_free_example_prints_as_the_one_below_it() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds.count("tg") >= 8 and kinds.count("tg free") == 1
    at = kinds.index("tg free")
    assert kinds[at + 1] == "tg" and str(parse(BLOCKS[at][1])) == BLOCKS[at + 1][1].rstrip("\n")


def test_the_example_of_an_error() -> None:
    text = "graph layer(%x: f32[B, 4]) -> (y: f32[B, 4]) {\n\n  %0 = softmax(%x, axis=7)"
    with pytest.raises(ParseError) as caught:
        parse(text, file="layer.tg")
    assert str(caught.value) in [text.rstrip("\n") for _, text in BLOCKS]


def test_the_grammar_uses_what_it_defines() -> None:
    grammar = next(text for kind, text in BLOCKS if kind == "ebnf")
    tokens = next(text for kind, text in BLOCKS if text.startswith("WORD "))
    bare = re.sub(r'"[^"]*"|\(\*.*?\*\)', " ", grammar)
    defined = {*re.findall(r"^(\w+) +=", grammar, re.MULTILINE), *re.findall(r"^([A-Z]+) ", tokens, re.MULTILINE)}
    assert set(re.findall(r"\w+", bare)) == defined
    literals = set(re.findall(r'"([^"]+)"', grammar))
    words = {"function", "graph", "state", "where", "param", "aliases", "const", "in", "at", "return", "range", "true",
             "false", "none",
             "inf", "nan"}
    marks = {"(", ")", "[", "]", "{", "}", ",", ":", ".", "=", "->", "<=", ">=", "==", "+", "-", "*", "//"}
    assert literals == words | marks
    for mark in marks:
        match = _TOKEN.match(mark)
        assert match is not None and match.lastgroup == "punctuation" and match.group() == mark
