"""Sentences in tables to vectors: each as if it were alone, in its place; bad rows with their reasons."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tgraph as tg
from tests.batch.conftest import LONGEST, alone, sentences, vectors_of
from tgraph import batch
from tgraph.batch import Embedder


def test_every_vector_is_that_of_the_sentence_alone(encoder: tg.Executable) -> None:
    """Across windows and calls that are smaller than the table, with the columns that it had."""
    texts = sentences(150)
    table = pa.table({"id": range(150), "text": texts, "tags": [["a"] * (i % 3) for i in range(150)]})
    found = Embedder(encoder, batch=8, window=50)(table)
    assert found.select(table.column_names).equals(table) and found.column_names == ["id", "text", "tags", "vector", "error"]
    np.testing.assert_allclose(vectors_of(found), alone(encoder, texts), atol=1e-5)
    assert found.column("error").null_count == 150


@pytest.mark.parametrize("make", [
    lambda texts: pa.array(texts, pa.large_string()), lambda texts: pa.array([t.encode() for t in texts]),
    lambda texts: pa.array(texts).dictionary_encode(), lambda texts: pa.chunked_array([texts[:7], [], texts[7:]]),
    lambda texts: pa.array(["x", *texts, "y"]).slice(1, len(texts)),
])
def test_text_of_any_type(encoder: tg.Executable, make: Any) -> None:
    texts = sentences(20)
    found = Embedder(encoder, "t")(pa.table({"t": make(texts)}))
    np.testing.assert_allclose(vectors_of(found), alone(encoder, texts), atol=1e-5)


def test_bad_rows_are_null_and_say_why(encoder: tg.Executable) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.array([0, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff ")])
    texts = pa.chunked_array([["the cat sat", None, "the " * (LONGEST + 1), "a dog"], broken, [""]])
    table = pa.table({"text": texts, "id": range(6)})
    found = Embedder(encoder, too_long="reject")(table)
    errors = found.column("error").to_pylist()
    assert errors[0] is errors[3] is errors[5] is None
    assert errors[1] == "there is no text: null" and "not UTF-8: invalid start byte at byte 1" in errors[4]
    assert errors[2] == f"the text has {LONGEST + 1} tokens, more than {LONGEST}"
    vectors = found.column("vector").to_pylist()
    assert [row for row, vector in enumerate(vectors) if vector is None] == [1, 2, 4]
    np.testing.assert_allclose(vectors[3], alone(encoder, ["a dog"])[0], atol=1e-5)
    assert found.column("text").to_pylist()[4] is None, "every reader would fail on it"
    assert found.column("id").to_pylist() == list(range(6))


def test_a_long_text_is_cut_unless_it_is_to_be_rejected(encoder: tg.Executable) -> None:
    long = "the cat sat on the mat and slept " * 20
    found = vectors_of(Embedder(encoder)(pa.table({"text": [long]})))
    short = " ".join(long.split()[:LONGEST])
    np.testing.assert_allclose(found, alone(encoder, [short]), atol=1e-5)
    longer = vectors_of(Embedder(encoder, max_length=LONGEST + 4)(pa.table({"text": [long]})))
    assert np.abs(longer - found).max() > 1e-4


def test_a_row_that_the_model_refuses_is_bad_and_its_neighbours_are_not(encoder: tg.Executable) -> None:
    """The model has 40 positions less 2, and a window is tried in halves until the row is found."""
    texts = [*sentences(9), "the " * 60, *sentences(10, 1), "a " * 61]
    found = Embedder(encoder, max_length=100)(pa.table({"text": texts}))
    errors = found.column("error").to_pylist()
    assert [row for row, error in enumerate(errors) if error] == [9, 20] and "outside of" in errors[9]
    good = [row for row in range(len(texts)) if errors[row] is None]
    np.testing.assert_allclose(vectors_of(found.take(good)), alone(encoder, [texts[row] for row in good]), atol=1e-5)


def test_nothing_in_nothing_out(encoder: tg.Executable) -> None:
    found = Embedder(encoder)(pa.table({"text": pa.array([], pa.string())}))
    assert found.num_rows == 0 and found.column_names == ["text", "vector", "error"]
    assert Embedder(encoder)(pa.table({"text": pa.nulls(3, pa.string())})).column("error").null_count == 0


@pytest.mark.parametrize(("table", "message"), [
    ({"text": [1, 2]}, "column 'text' is int64; text is string"), ({"body": ["a"]}, "no column 'text'; the columns are body"),
    ({"text": ["a"], "vector": [1]}, "a column 'vector' already"), ({"text": ["a"], "error": [1]}, "a column 'error' already"),
])
def test_a_table_that_does_not_fit(encoder: tg.Executable, table: Any, message: str) -> None:
    with pytest.raises(tg.InputError, match=message):
        Embedder(encoder)(pa.table(table))


@pytest.mark.parametrize(("options", "message"), [
    ({"max_length": 1000}, "takes texts of 1 to 512 tokens"), ({"max_length": 0}, "max_length is 0"),
    ({"too_long": "drop"}, "'cut' or 'reject', not 'drop'"), ({"batch": 0}, "from 1 on, not 0"),
])
def test_options_that_are_none(encoder: tg.Executable, options: Any, message: str) -> None:
    with pytest.raises(tg.InputError, match=message):
        Embedder(encoder, **options)


def test_bundles_that_are_no_encoders(tmp_path: Path, encoder: tg.Executable) -> None:
    exe = tg.compile(tg.trace(lambda x: x * 2, x=tg.f32[tg.dim("B"), 4]))
    exe.save(tmp_path / "x.tgc")
    with pytest.raises(tg.FormatError, match=r"x\.tgc has no tokenizer in it.*tgraph embed --save"):
        Embedder(tmp_path / "x.tgc")
    exe.save(tmp_path / "x.tgc", files=encoder.files)
    with pytest.raises(tg.InputError, match=r"x\.tgc is no encoder of sentences.*x: f32\[B, 4\]"):
        Embedder(tmp_path / "x.tgc")
    exe.save(tmp_path / "x.tgc", files={"tokenizer.json": b"{}"})
    with pytest.raises(tg.FormatError, match=r"x\.tgc: tokenizer\.json is no tokenizer"):
        Embedder(tmp_path / "x.tgc")


def test_endless_rows_are_taken_window_by_window(encoder: tg.Executable) -> None:
    asked = itertools.count()

    def rows() -> Any:
        for number in asked:
            yield {"text": "the cat" if number % 2 else "a dog", "n": number}

    tables = batch.embed(rows(), encoder, window=10)
    found = pa.concat_tables(itertools.islice(tables, 3))
    assert found.column("n").to_pylist() == list(range(30)) and next(asked) <= 50
    np.testing.assert_allclose(vectors_of(found)[:2], alone(encoder, ["a dog", "the cat"]), atol=1e-5)


def test_rows_of_any_form(encoder: tg.Executable) -> None:
    texts = sentences(5)
    forms: list[Any] = [texts, [{"text": t} for t in texts], [pa.table({"text": texts[:2]}), pa.table({"text": texts[2:]})],
                        pa.table({"text": texts}).to_batches()]
    for form in forms:
        found = pa.concat_tables(batch.embed(iter(form), encoder))
        np.testing.assert_allclose(vectors_of(found), alone(encoder, texts), atol=1e-5)
    mixed = pa.concat_tables(batch.embed([{"text": "a", "n": 1}, {"text": 5, "n": 2}, {"n": 3}, {"text": "\ud800"}], encoder))
    reasons = mixed.column("error").to_pylist()
    assert reasons[0] is None and reasons[1] == "text is int (5), not string" and "null" in reasons[2] and "UTF-8" in reasons[3]
    assert mixed.column("n").to_pylist() == [1, 2, 3, None]
    nested = [{"text": "a", "x": {"y": "\ud800"}}, {"text": "b", "x": {"y": "z"}}]
    found = pa.concat_tables(batch.embed(nested, encoder)).to_pylist()
    assert found[0]["x"] is None and "UTF-8" in found[0]["error"] and found[1]["x"] == {"y": "z"} and found[1]["error"] is None
    with pytest.raises(tg.InputError, match="columns have names"):
        list(batch.embed([{"text": "a", "\ud800": 1}], encoder))
    with pytest.raises(tg.InputError, match="not int"):
        list(batch.embed([1, 2], encoder))


def test_rows_to_a_file(encoder: tg.Executable, tmp_path: Path) -> None:
    report = batch.embed(({"text": t} for t in ["the cat", None, "a dog"]), encoder, output=tmp_path / "x.parquet", window=2)
    assert (report.rows, report.bad) == (3, 1) and str(report.bad_rows[0]) == "row 1: there is no text: null"

    def failing() -> Any:
        yield from ["a"] * 10
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        batch.embed(failing(), encoder, output=tmp_path / "y.parquet", window=4)
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]
