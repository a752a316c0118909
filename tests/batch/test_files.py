"""Files of every kind in parts: every row once, in its place, whatever the sizes of parts, row groups and windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tgraph as tg
from tgraph.batch.files import Files, find_files, scan


def read(files: Files, window: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All rows, and where the bad ones are from, with their reasons."""
    rows, bad = [], {}
    for part in files.parts:
        start = len(rows)
        assert start == part.first
        for table, errors in files.windows(part, window):
            bad.update({files.where(part, len(rows) - start + row): reason for row, reason in errors.items()})
            rows += table.to_pylist()
        assert len(rows) - start == part.rows
    return rows, bad


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
@pytest.mark.parametrize("window", [1, 4, 100])
def test_parquet(tmp_path: Path, rows: int, window: int) -> None:
    table = pa.table({"n": range(25), "text": [f"t{n}" for n in range(25)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10)
    pq.write_table(table.slice(5, 3), tmp_path / "b.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "c.parquet")
    found = scan(*find_files([tmp_path]), rows, [])
    assert read(found, window) == (table.to_pylist() + table.slice(5, 3).to_pylist(), {}) and found.rows == 28
    assert found.where(found.parts[-1], 0).startswith(f"{tmp_path / 'b.parquet'}, row ")


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_text(tmp_path: Path, rows: int) -> None:
    content = b"\xef\xbb\xbfone\ntwo\r\n\nf\xffur\nfive\xc3\xa9"
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "b.txt").write_bytes(b"six\n")
    found, bad = read(scan(*find_files([tmp_path / "a.txt", tmp_path / "b.txt"]), rows, []), 2)
    assert [row["text"] for row in found] == ["one", "two", "", None, "fiveé", "six"]
    assert bad == {f"{tmp_path / 'a.txt'}:4": "the text is not UTF-8: invalid start byte at byte 1"}


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_json_lines(tmp_path: Path, rows: int) -> None:
    lines = [
        b'{"text": "a", "n": 1, "tags": ["x"], "mixed": 1, "meta": {}}',
        b'{"text": "b", "n": 2.5, "mixed": "two", "late": {"x": 1}}', b'{"text": 7, "n": 3}', b"{", b"[1]", b"",
        b'{"text": "\xff"}', b"[" * 100_000, b'{"text": "c", "n": ' + b"9" * 5000 + b"}",
        b'{"n": 4}', b'{"text": "\\ud800"}', b'{"text": "d", "late": {"y": "z"}}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    found, bad = read(scan(*find_files([tmp_path / "a.jsonl"]), rows, ["text"]), 5)
    assert [row["text"] for row in found] == ["a", "b", None, None, None, None, None, None, None, None, None, "d"]
    assert [row["n"] for row in found[:3]] == [1.0, 2.5, 3.0] and found[0]["tags"] == ["x"]
    assert [row["mixed"] and json.loads(row["mixed"]) for row in found[:3]] == [1, "two", None] and found[0]["meta"] == "{}"
    assert found[1]["late"] == {"x": 1, "y": None} and found[11]["late"] == {"x": None, "y": "z"}
    reasons = {int(where.rpartition(":")[2]): reason for where, reason in bad.items()}
    expected = {3: "text is int (7), not string", 4: "the line is no JSON", 5: "holds list, not an object",
                6: "the line is empty", 7: "not UTF-8", 8: "nested too deep", 9: "no JSON", 11: "half a character"}
    assert reasons.keys() == expected.keys() and all(expected[line] in reasons[line] for line in expected), reasons


def test_a_field_that_no_row_has(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "a", "n": 1}\n')
    with pytest.raises(tg.InputError, match="no row has a field 'text'; the fields are body, n"):
        scan(*find_files([tmp_path / "a.jsonl"]), 10, ["text"])


def test_what_is_no_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        find_files([tmp_path / "x.parquet"])
    with pytest.raises(tg.InputError, match="holds no files"):
        find_files([tmp_path])
    for name in ("a.parquet", "b.txt", "c.csv"):
        (tmp_path / name).write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(tg.InputError, match="of different kinds"):
        find_files([tmp_path / "a.parquet", tmp_path / "b.txt"])
    with pytest.raises(tg.InputError, match=r"c\.csv does not end in"):
        find_files([tmp_path / "c.csv"])
    with pytest.raises(tg.FormatError, match=r"a\.parquet is no Parquet file, or is damaged"):
        scan([tmp_path / "a.parquet"], "parquet", 10, [])


def test_damage_in_the_middle_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [str(n) * 50 for n in range(1000)]}), path, use_dictionary=False, compression="zstd")
    files = scan([path], "parquet", 1000, [])
    data = bytearray(path.read_bytes())
    data[60:3000] = b"\xff" * 2940
    path.write_bytes(data)
    with pytest.raises(tg.FormatError, match=r"a\.parquet is no Parquet file, or is damaged"):
        list(files.windows(files.parts[0], 10))


def test_columns_that_differ_from_file_to_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "b.parquet")
    with pytest.raises(tg.InputError, match=r"b\.parquet has other columns \(text: string, n: int64\) than .*a\.parquet \(text"):
        scan(*find_files([tmp_path]), 10, [])
