"""Columns through models: each row as if it were alone, whatever its shape; graphs that mix rows are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tgraph as tg
from tgraph import batch, nn
from tgraph.batch import Mapper

B, S, T = tg.dims("B S T")


@pytest.fixture(scope="module")
def layer() -> tg.Executable:
    exe = tg.compile(tg.trace(lambda x, mask: {"hidden": LAYER(x, mask), "first": LAYER(x, mask)[:, 0]}, x=tg.f32[B, S, 8],
                              mask=tg.bool_[B, S]))
    assert isinstance(exe, tg.Executable)
    return exe


LAYER = nn.EncoderLayer(8, heads=2, hidden=16)


def of(function: Any, **specs: Any) -> Any:
    return tg.compile(tg.trace(function, **specs), "numpy")


def test_rows_of_different_lengths_share_calls_and_are_cut_back(layer: tg.Executable) -> None:
    random = np.random.default_rng(0)
    rows = [random.standard_normal((random.integers(1, 9), 8)).astype("f") for _ in range(40)]
    table = pa.table({"x": pa.array([r.tolist() for r in rows], pa.list_(pa.list_(pa.float32(), 8))), "id": range(40)})
    found = Mapper(layer, {"x": "x"}, {"hidden": "h", "first": "f"}, mask="mask", batch=7, window=15)(table)
    assert found.column_names == ["x", "id", "h", "f", "error"] and found.column("error").null_count == 40
    assert found.schema.field("h").type == pa.list_(pa.list_(pa.float32(), 8)) and pa.types.is_fixed_size_list(found["f"].type)
    for row, hidden, first in zip(rows, found.column("h").to_pylist(), found.column("f").to_pylist()):
        expected = layer(row[None], np.ones((1, len(row)), bool))
        np.testing.assert_allclose(hidden, expected.hidden[0], atol=1e-4)
        np.testing.assert_allclose(first, expected.first[0], atol=1e-4)


def test_without_a_mask_rows_of_equal_shapes_share_calls() -> None:
    calls = []
    exe = of(lambda x: {"twice": x + x, "sum": x.sum(axis=1)}, x=tg.f32[B, S])
    mapper = Mapper(exe, {"x": "x"}, {"twice": "t", "sum": "s"})
    run = mapper._run
    mapper._run = lambda rows: calls.append(len(rows)) or run(rows)  # type: ignore[method-assign,func-returns-value]
    found = mapper(pa.table({"x": [[1.0, 2.0], [3.0], [], [4.0, 5.0], [6.0]]}))
    assert found.column("t").to_pylist() == [[2.0, 4.0], [6.0], [], [8.0, 10.0], [12.0]]
    assert found.column("s").to_pylist() == [3.0, 3.0, 0.0, 9.0, 6.0] and sorted(calls) == [1, 2, 2]


def test_numbers_matrices_and_types() -> None:
    exe = of(lambda n, m: {"n": n + 1, "m": m.astype("f16"), "b": m > 0}, n=tg.i64[B], m=tg.f32[B, 2, 3])
    matrices = np.arange(24, dtype="f").reshape(4, 2, 3) - 7
    nested = pa.array(matrices.astype("f8").tolist())
    fixed = pa.FixedShapeTensorArray.from_numpy_ndarray(matrices)
    for column in (nested, fixed, pa.chunked_array([nested[:1], nested[1:]])):
        found = Mapper(exe, {"n": "i", "m": "m"}, {"n": "n1", "m": "half", "b": "b"})(pa.table({"i": range(4), "m": column}))
        assert found.column("error").to_pylist() == [None] * 4 and found.column("n1").to_pylist() == [1, 2, 3, 4]
        np.testing.assert_array_equal(found.column("half").to_pylist(), matrices)
        np.testing.assert_array_equal(found.column("b").to_pylist(), matrices > 0)


def test_bad_rows() -> None:
    exe = of(lambda x, y: {"sum": x + y[:, None]}, x=tg.f32[B, 3], y=tg.f32[B])
    table = pa.table({"x": [[1.0, 2, 3], None, [1.0, None, 3], [1.0, 2], [4.0, 5, 6], [1.0, 1, 1]],
                      "y": pa.array([1, 1, 1, 1, 2, None], pa.int32())})
    found = Mapper(exe, {"x": "x", "y": "y"}, {"sum": "sum"})(table)
    assert found.column("sum").to_pylist() == [[2.0, 3, 4], None, None, None, [6.0, 7, 8], None]
    errors = found.column("error").to_pylist()
    assert errors[1] == errors[5] == "it is null" and errors[2] == "it holds a null" and "shape [2]" in errors[3]
    ragged = pa.table({"x": [[[1.0, 2.0], [3.0]], [[1.0], [2.0]]]})
    found = Mapper(of(lambda x: {"twice": x * 2}, x=tg.f32[B, S, T]), {"x": "x"}, {"twice": "y"})(ragged)
    assert found.column("error").to_pylist() == ["its lists have different lengths", None]
    assert found.column("y").to_pylist() == [None, [[2.0], [4.0]]]


def test_what_the_model_refuses_is_a_bad_row() -> None:
    table = tg.nn.Embedding(5, 2)
    exe = of(lambda i: {"found": table(i)}, i=tg.i64[B])
    found = Mapper(exe, {"i": "i"}, {"found": "e"})(pa.table({"i": [0, 4, 77, 3]}))
    assert [e is None for e in found.column("error").to_pylist()] == [True, True, False, True]
    assert "77" in found.column("error")[2].as_py() and found.column("e")[3].as_py() is not None


@pytest.mark.parametrize(("function", "specs", "message"), [
    (lambda x: {"y": x.sum(axis=0)}, {"x": tg.f32[B, 4]}, r"the first axis of y \[4\] is not the batch, B"),
    (lambda x: {"y": x @ x.T}, {"x": tg.f32[B, 4]}, "what comes of a row depends on the others"),
    (lambda x: {"y": x}, {"x": tg.f32[2, 4]}, r"first axis of x \[2, 4\] is not the batch, a symbolic dim"),
])
def test_graphs_whose_rows_are_not_independent(function: Any, specs: Any, message: str) -> None:
    with pytest.raises(tg.InputError, match=message):
        Mapper(of(function, **specs), {"x": "x"}, {"y": "y"})


@pytest.mark.parametrize(("inputs", "outputs", "mask", "message"), [
    ({}, {"hidden": "h"}, "mask", "a column for each of x"), ({"x": "x"}, {"hidden": "h"}, None, "each of mask, x"),
    ({"x": "x"}, {"hiden": "h"}, "mask", "gives hidden, first; .* not hiden"), ({"x": "x"}, {}, "mask", "not none"),
    ({"x": "x"}, {"hidden": "h"}, "masque", "not inputs x, mask masque"),
    ({"mask": "m"}, {"hidden": "h"}, "x", "the mask x is f32"),
])
def test_names_that_there_are_not(layer: tg.Executable, inputs: Any, outputs: Any, mask: Any, message: str) -> None:
    with pytest.raises(tg.InputError, match=message):
        Mapper(layer, inputs, outputs, mask=mask)


@pytest.mark.parametrize(("column", "message"), [
    (["a"], "column 'x' is string; input x is"), ([1.0], "is double"), ([[1.0]], "a row of which is list"),
    ([[["a"]]], "input x is"),
])
def test_columns_that_do_not_fit(layer: tg.Executable, column: Any, message: str) -> None:
    with pytest.raises(tg.InputError, match=message):
        Mapper(layer, {"x": "x"}, {"hidden": "h"}, mask="mask")(pa.table({"x": column}))


def test_numbers_do_not_lose_their_kind() -> None:
    exe = of(lambda x: {"y": x + 1}, x=tg.i64[B])
    with pytest.raises(tg.InputError, match="column 'x' is double"):
        Mapper(exe, {"x": "x"}, {"y": "y"})(pa.table({"x": [1.5]}))
    tables = list(batch.map([{"x": 1}, {"x": 2}], exe, inputs={"x": "x"}, outputs={"y": "y"}))
    assert pa.concat_tables(tables).column("y").to_pylist() == [2, 3]
