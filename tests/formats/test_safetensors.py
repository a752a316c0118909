"""The safetensors format: round trip, other people's files, damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import constants

from tgraph.formats import load_safetensors, save_safetensors
from tgraph.ir.errors import FormatError

ARRAYS = {
    "f32": np.arange(6, dtype=np.float32).reshape(2, 3), "f64": np.array(1.5), "f16": np.ones(3, np.float16),
    "i64": np.arange(3), "i32": np.arange(3, dtype=np.int32), "i8": np.array([-1, 2], np.int8),
    "u8": np.arange(5, dtype=np.uint8),
    "bool": np.array([True, False]), "empty": np.zeros((0, 3), np.float32), "strided": np.arange(12.0)[::3],
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T, "big endian": np.arange(3, dtype=">i4"),
    "\u540d": np.ones(1),
}


def test_safetensors_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    bf16 = {"bf16": np.array([1.5, -2], ml_dtypes.bfloat16), "f8": np.array([1.5], ml_dtypes.float8_e4m3fn)}
    save_safetensors(file, ARRAYS | bf16, {"who": "me"})
    found = load_safetensors(file)
    assert found.metadata == {"who": "me"} and set(found) == {*ARRAYS, *bf16} and len(found) == len(ARRAYS) + 2
    for name, array in (ARRAYS | bf16).items():
        assert np.array_equal(found[name], array) and found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("=") and not found[name].flags.writeable
        assert found[name].flags.aligned
    first = found["f32"]
    del found
    assert first.sum() == 15  # the mapped file lives as long as its arrays


def test_safetensors_of_others(tmp_path: Path) -> None:
    arrays = {k: np.ascontiguousarray(v.astype(v.dtype.newbyteorder("="))).reshape(v.shape) for k, v in ARRAYS.items()}
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    save_safetensors(ours, ARRAYS, {"a": "b"})
    safetensors.numpy.save_file(arrays, theirs, {"a": "b"})
    read_by_them, read_by_us = safetensors.numpy.load_file(ours), load_safetensors(theirs)
    assert set(read_by_them) == set(read_by_us) == set(arrays) and read_by_us.metadata == {"a": "b"}
    for name, array in arrays.items():
        for found in (read_by_them[name], read_by_us[name]):
            assert found.dtype == array.dtype and np.array_equal(found, array)
    with safetensors.safe_open(str(ours), "numpy") as file:
        assert file.metadata() == {"a": "b"}


@given(st.lists(constants(), max_size=4))
def test_safetensors_in_bytes_of_others(tmp_path_factory: pytest.TempPathFactory, arrays: list[np.ndarray]) -> None:
    file = tmp_path_factory.mktemp("s") / "a.safetensors"
    named = {str(i): a for i, a in enumerate(arrays)}
    save_safetensors(file, named)
    assert (file.stat().st_size - sum(a.nbytes for a in arrays)) % 64 == 0
    assert {k: v.tobytes() for k, v in load_safetensors(file).items()} == {k: v.tobytes() for k, v in named.items()}
    theirs = dict(safetensors.deserialize(file.read_bytes()))
    assert {k: bytes(v["data"]) for k, v in theirs.items()} == {k: v.tobytes() for k, v in named.items()}


def test_sharded_checkpoints(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "one.safetensors", {"a": np.zeros(1)})
    save_safetensors(tmp_path / "two.safetensors", {"b": np.ones(2)})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    assert {k: v.tolist() for k, v in load_safetensors(index).items()} == {"a": [0], "b": [1, 1]}
    for content in ("{}", "[]", "x", '{"weight_map": {"c": "one.safetensors"}}', '{"weight_map": 3}'):
        index.write_text(content)
        with pytest.raises(FormatError, match="is no index of files of weights"):
            load_safetensors(index)


def header(text: str, data: bytes = b"") -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode() + data


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is no safetensors file, or is cut off"), (b"\x01\x00", "is no safetensors file, or is cut off"),
    (b"\xff" * 8, "is no safetensors file, or is cut off"), (header("{}")[:-1], "its header does not fit in 9 bytes"),
    (header("[]"), "its header is no JSON object"), (header("{"), "its header is no JSON object"),
    (header("3"), "its header is no JSON object"), (header("[" * 100_000), "its header is no JSON object"),
    (header('{"__metadata__": 3}'), "its header is no JSON object"),
    (header('{"w": 3}'), "entry for tensor 'w' is damaged"), (header('{"w": {}}'), "entry for tensor 'w' is damaged"),
    (header('{"w": {"dtype": "F32", "shape": 3, "data_offsets": [0, 4]}}', b"1234"), "entry for tensor 'w' is damaged"),
    (header('{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}', b"1234"), "entry for tensor 'w' is damaged"),
    (header('{"w": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}', b"1234"),
     "tensor 'w' has dtype F99; known: F64"),
    (header('{"w": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}', b"1234"), r"tensor 'w' has dtype \[\]"),
    (header('{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"123"), "lies outside of the file"),
    (header('{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"1234"), "lies outside of the file"),
    (header('{"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}', b"1234"), "lies outside of the file"),
    (header('{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', b"1234"),
     r"w' \(F32\[2\]\) needs 8 bytes, the file gives 4"),
])
def test_damaged_safetensors(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        load_safetensors(file)


def test_what_safetensors_lack(tmp_path: Path) -> None:
    for tensors, message in (({"c": np.ones(2, np.complex64)}, r"no dtype for tensor 'c' \(complex64\)"),
                             ({"s": np.array(["a"])}, "no dtype for tensor 's'"),
                             ({"__metadata__": np.ones(2)}, "can be named '__metadata__'")):
        with pytest.raises(FormatError, match=message):
            save_safetensors(tmp_path / "a.safetensors", tensors)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        load_safetensors(tmp_path / "a.safetensors")
