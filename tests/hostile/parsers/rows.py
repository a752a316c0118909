"""Files of rows, of which no line is an error of the file: JSON lines and text."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.hostile.mutate import mutate_bytes, mutate_json
from tests.hostile.parser import Parser
from tgraph.batch.files import find_files, scan

ROWS = [{"text": "a", "n": 1, "tags": ["x"], "meta": {"x": [1.5, None]}}, {"text": "b", "n": 2.5, "meta": {}}, {"text": None}]


def _lines() -> list[bytes]:
    return ["\n".join(map(json.dumps, rows)).encode() for rows in (ROWS, ROWS[:1], ROWS * 3)]


def _change(data: bytes, random: Random) -> bytes:
    """One line as JSON, or bytes anywhere."""
    lines = data.split(b"\n")
    if random.random() < 0.3:
        return mutate_bytes(data, random)
    at = random.randrange(len(lines))
    lines[at] = mutate_json(lines[at], random)
    return b"\n".join(lines)


def _read(path: Path) -> object:
    """Every line comes out as a row, if one of them has a text."""
    files = scan(*find_files([path]), 2, ["text"] if path.suffix == ".jsonl" else [])
    rows = [row for part in files.parts for table, _ in files.windows(part, 2) for row in table.to_pylist()]
    with open(path, "rb") as file:
        assert len(rows) == sum(1 for _ in file) - (path.read_bytes() == b"\xef\xbb\xbf") == files.rows
    return rows


PARSERS = {
    "json-lines": Parser("x.jsonl", _read, _lines, _change),
    "text-lines": Parser("x.txt", _read, lambda: [b"one\ntwo\r\n\n", "\ufeffé\n".encode(), b""]),
}
