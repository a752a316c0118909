"""Runs over files: what is kept when one ends early, what the next one does with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tgraph as tg
from tests.batch.conftest import alone, sentences, vectors_of
from tgraph import batch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    path = tmp_path / "docs.parquet"
    pq.write_table(pa.table({"id": range(100), "text": sentences(100)}), path)
    return path


class Stop(BaseException):
    """As Ctrl-C is."""


def stopping(after: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done >= after:
            raise Stop

    return progress


def parts(output: Path) -> dict[str, int]:
    """The finished parts of an output, and when each was written."""
    return {p.name: p.stat().st_mtime_ns for p in output.with_name(f"{output.name}.parts").glob("*.parquet")}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "txt"])
def test_a_run_over_files(bundle: Path, encoder: tg.Executable, tmp_path: Path, suffix: str) -> None:
    texts = sentences(57)
    path = tmp_path / f"docs.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"text": texts}), path, row_group_size=20)
    else:
        path.write_text("".join(f"{t}\n" if suffix == "txt" else f'{{"text": "{t}"}}\n' for t in texts))
    seen: list[tuple[int, int]] = []
    report = batch.embed(path, bundle, output=tmp_path / "v.parquet", part_rows=10, window=4,
                         progress=lambda *rows: seen.append(rows))
    found = pq.read_table(tmp_path / "v.parquet")
    assert found.column("text").to_pylist() == texts and (report.rows, report.bad, report.kept) == (57, 0, 0)
    np.testing.assert_allclose(vectors_of(found), alone(encoder, texts), atol=1e-5)
    assert seen[0] == (0, 57) and seen[-1] == (57, 57) and sorted(seen) == seen
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "v.parquet"]
    tables = pa.concat_tables(batch.embed([path], encoder))  # and without a file to write
    assert tables.column("text").to_pylist() == texts


def test_the_next_run_goes_on_where_one_was_stopped(docs: Path, bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.parquet"
    with pytest.raises(Stop):
        batch.embed(docs, bundle, output=output, part_rows=10, progress=stopping(40))
    kept = parts(output)
    assert len(kept) == 4 and not output.exists()
    with pytest.raises(Stop):
        batch.embed(docs, bundle, output=output, part_rows=10, progress=stopping(70))
    assert kept.items() <= parts(output).items() and len(parts(output)) == 7, "those that were there are as they were"
    report = batch.embed(docs, bundle, output=output, part_rows=10)
    assert (report.rows, report.parts, report.kept) == (100, 10, 7)
    whole = batch.embed(docs, bundle, output=tmp_path / "w.parquet", part_rows=10)
    assert whole.kept == 0 and pq.read_table(output).equals(pq.read_table(tmp_path / "w.parquet"))


def test_a_part_that_is_not_whole_is_computed_again(docs: Path, bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.parquet"
    with pytest.raises(Stop):
        batch.embed(docs, bundle, output=output, part_rows=10, progress=stopping(30))
    folder = output.with_name("v.parquet.parts")
    (folder / "000001.parquet").write_bytes(b"")
    (folder / "000002.parquet").write_bytes((folder / "000002.parquet").read_bytes()[:-9])
    report = batch.embed(docs, bundle, output=output, part_rows=10)
    assert report.kept == 1 and report.rows == 100 and pq.read_table(output).column("id").to_pylist() == list(range(100))


@pytest.mark.parametrize(("options", "change", "message"), [
    ({"max_length": 5}, None, r"options was .*restart=True \(--restart\) drops"),
    ({"part_rows": 20}, None, "part_rows was 10 and is 20"), ({}, "docs", "inputs was"), ({}, "bundle", "bundle was"),
    ({}, "manifest", "not what a run leaves"),
])
def test_parts_of_something_else_are_not_gone_on_with(docs: Path, bundle: Path, tmp_path: Path, options: Any, change: str | None,
                                                      message: str) -> None:
    output, used = tmp_path / "v.parquet", tmp_path / "encoder.tgc"
    used.write_bytes(bundle.read_bytes())
    with pytest.raises(Stop):
        batch.embed(docs, used, output=output, part_rows=10, progress=stopping(40))
    if change == "docs":
        pq.write_table(pa.table({"id": range(100), "text": sentences(100, 1)}), docs)
    elif change == "bundle":
        exe = tg.load(bundle)
        exe.save(used, files={**exe.files, "note": b"another"})
    elif change == "manifest":
        (tmp_path / "v.parquet.parts" / "manifest.json").write_text('{"facts": [], "schema": 5}')
    before = parts(output)
    given = {"part_rows": 10, **options}
    with pytest.raises((tg.InputError, tg.FormatError), match=message):
        batch.embed(docs, used, output=output, **given)
    assert parts(output) == before
    report = batch.embed(docs, used, output=output, restart=True, **given)
    assert report.kept == 0 and report.rows == 100


def test_a_run_that_cannot_begin_leaves_nothing(docs: Path, bundle: Path, tmp_path: Path) -> None:
    for options, message in (({"column": "body"}, "no column 'body'"), ({"column": "id"}, "'id' is int64"),
                             ({"vector": "id"}, "already")):
        with pytest.raises(tg.InputError, match=message):
            batch.embed(docs, bundle, output=tmp_path / "v.parquet", **options)
    with pytest.raises(tg.InputError, match=r"v\.npy is a Parquet file"):
        batch.embed(docs, bundle, output=tmp_path / "v.npy")
    with pytest.raises(tg.InputError, match="workers are actors of Ray"):
        batch.embed(docs, bundle, output=tmp_path / "v.parquet", workers=2)
    assert [p.name for p in tmp_path.iterdir()] == ["docs.parquet"]


def test_bad_rows_are_listed_by_file_and_row(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "the cat"}\n{"text": 5}\n')
    (tmp_path / "b.jsonl").write_bytes(b'nothing\n{"text": "a dog"}\n{"text": "\xff"}\n{"text": "' + b"the " * 40 + b'"}\n')
    report = batch.embed([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], bundle, output=tmp_path / "v.parquet", part_rows=2,
                         too_long="reject")
    assert (report.rows, report.bad) == (6, 4) and [row.row for row in report.bad_rows] == [1, 2, 4, 5]
    assert [row.where.rpartition("/")[2] for row in report.bad_rows] == ["a.jsonl:2", "b.jsonl:1", "b.jsonl:3", "b.jsonl:4"]
    found = pq.read_table(tmp_path / "v.parquet")
    assert [row for row, vector in enumerate(found.column("vector").to_pylist()) if vector is None] == [1, 2, 4, 5]
    assert [row.reason for row in report.bad_rows] == [e for e in found.column("error").to_pylist() if e]


def test_the_executable_itself_can_be_given(docs: Path, encoder: tg.Executable, tmp_path: Path) -> None:
    """Its bundle is beside the parts, so that the next run knows whether it is the same."""
    with pytest.raises(Stop):
        batch.embed(docs, encoder, output=tmp_path / "v.parquet", part_rows=10, progress=stopping(40))
    report = batch.embed(docs, encoder, output=tmp_path / "v.parquet", part_rows=10)
    assert report.kept == 4 and sorted(p.name for p in tmp_path.iterdir()) == ["docs.parquet", "v.parquet"]


RUN = """
import sys
from tgraph import batch
batch.embed(sys.argv[1], sys.argv[2], output=sys.argv[3], part_rows=50, progress=lambda done, total: print(done, flush=True))
"""


def test_two_processes_do_not_write_one_output_and_one_that_is_killed_is_gone_on_with(bundle: Path, encoder: tg.Executable,
                                                                                     tmp_path: Path) -> None:
    texts = sentences(20_000)
    (tmp_path / "docs.txt").write_text("\n".join(texts))
    output = tmp_path / "v.parquet"
    command = [sys.executable, "-c", RUN, str(tmp_path / "docs.txt"), str(bundle), str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stdout is not None
    while int(process.stdout.readline()) < 500:
        pass
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(tg.InputError, match="another process is writing"):
        batch.embed(tmp_path / "docs.txt", bundle, output=output, part_rows=50)
    process.kill()
    process.wait(60)
    kept = parts(output)
    assert 10 <= len(kept) < 400 and not output.exists()
    time.sleep(0.01)
    report = batch.embed(tmp_path / "docs.txt", bundle, output=output, part_rows=50)
    assert report.kept == len(kept) and report.rows == 20_000
    found = pq.read_table(output)
    assert found.column("text").to_pylist() == texts
    chosen = range(0, 20_000, 97)
    np.testing.assert_allclose(vectors_of(found.take(list(chosen))), alone(encoder, [texts[row] for row in chosen]), atol=1e-5)
