"""Splitting text into tokens, each with its line and column."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .errors import ParseError
from .names import PATH, WORD

LONGEST_MESSAGE = 2000  # characters
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_TOKEN = re.compile(
    "|".join(
        f"(?P<{kind}>{pattern})"
        for kind, pattern in (
            ("space", r"[ \t\r\n]+|\#(?![0-9])[^\n]*"),
            ("digest", r"sha256:[0-9a-f]+"),
            ("float", r"[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)"),
            ("int", r"[0-9]+"),
            ("string", _STRING),
            ("result", r"%[0-9]+"),
            ("value", rf"%(?:{WORD}|{_STRING})"),
            ("parameter", rf"@(?:{PATH}|{_STRING})"),
            ("function", rf"\$(?:{WORD}|{_STRING})"),
            ("constant", r"\#[0-9]+"),
            ("word", WORD),
            ("punctuation", r"->|<=|>=|==|//|[()\[\]{},:=.+*-]"),
        )
    )
)


@dataclass(frozen=True)
class Token:
    """One token: `kind` is a group of the pattern above or "end", `value` the name, number or string that it stands for."""

    kind: str
    text: str
    value: Any
    line: int
    column: int

    def __str__(self) -> str:
        return "the end of the text" if self.kind == "end" else f"'{self.text}'"


class Source:
    """A text with the name of its file, which makes errors that point into it."""

    def __init__(self, text: str, file: str):
        self.text: str = text
        self.file: str = file
        self.text_lines: list[str] = text.split("\n")

    def error(self, line: int, column: int, message: str) -> ParseError:
        if len(message) > LONGEST_MESSAGE:  # a name may be of any length
            message = f"{message[:LONGEST_MESSAGE]}\u2026"
        return ParseError(line, column, message, self.text_lines[line - 1].rstrip("\r"), self.file)


def tokenize(source: Source) -> list[Token]:
    """All tokens, the last one of kind "end". Raises ParseError at a character that cannot start a token."""
    tokens: list[Token] = []
    position, line, start = 0, 1, 0
    while position < len(source.text):
        match = _TOKEN.match(source.text, position)
        if match is None:
            raise source.error(line, position - start + 1, _complaint(source.text, position))
        kind, text = str(match.lastgroup), match.group()
        if kind != "space":
            tokens.append(Token(kind, text, _value(kind, text, source, line, position - start + 1), line,
                                position - start + 1))
        newlines = text.count("\n")
        if newlines:
            line, start = line + newlines, position + text.rindex("\n") + 1
        position = match.end()
    return [*tokens, Token("end", "", None, line, position - start + 1)]


def _value(kind: str, text: str, source: Source, line: int, column: int) -> Any:
    if kind == "int":
        if len(text) > 4000:  # Python refuses to read integers much longer than that
            raise source.error(line, column, "this number is too long")
        return int(text)
    if kind == "float":
        return float(text)
    if kind in ("result", "constant"):
        return text[1:]
    if kind in ("value", "parameter", "function"):
        return _unquote(text[1:], source, line, column + 1)
    return _unquote(text, source, line, column) if kind == "string" else text


def _unquote(text: str, source: Source, line: int, column: int) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise source.error(line, column, f"bad string: {error}") from None


def _complaint(text: str, position: int) -> str:
    character = text[position]
    if character == '"':
        return "this string has no end on its line"
    expected = {"%": "expected a value's name after '%'", "@": "expected a parameter's name after '@'",
                "$": "expected a function's name after '$'"}
    return expected.get(character, f"unexpected character {character!r}")
