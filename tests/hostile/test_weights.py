"""Files of weights that are made to do harm: pickles that change what reads them, claims of sizes, bytes that stand for many."""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.oracle import judge
from tests.hostile.sandbox import limited_memory
from tgraph.formats.safetensors import load_safetensors
from tgraph.formats.torch_checkpoint import _CALLED, load_torch_checkpoint
from tgraph.ir.errors import FormatError

MARK, STOP, PROTO = b"(", b".", b"\x80\x02"


def global_(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


FUNCTION = global_("torch._utils", "_rebuild_tensor_v2")
FLOAT = global_("torch", "FloatStorage")
NESTED = b")" + b"\x85" * 200_000  # a tuple in a tuple, and so on
STATE = text("__kwdefaults__") + b"N"


def checkpoint(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("m/data.pkl", content)
        for name, data in entries.items():
            file.writestr(f"m/data/{name}", data)
    return path


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], count: int = 4) -> bytes:
    """The pickle of a state dict with one tensor over a storage of floats."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return MARK + b"".join(b"\x8a\x09" + n.to_bytes(9, "little", signed=True) for n in values) + b"t"

    storage = MARK + text("storage") + FLOAT + text("0") + text("cpu") + b"\x8a\x09" + count.to_bytes(9, "little") + b"tQ"
    return PROTO + b"}" + text("w") + FUNCTION + MARK + storage + b"K\0" + numbers(shape) + numbers(strides) + b"tRs."


@pytest.mark.parametrize(("content", "problem"), [
    (PROTO + FUNCTION + b"N}" + STATE + b"s\x86b.", "sets attributes of function"),
    (PROTO + FLOAT + b"(K\x03" + text(">") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb.", "sets attributes of .*[dD]Type"),
    (PROTO + b"}" + NESTED + b"K\x01s.", "a key that is tuple"),
    (PROTO + global_("collections", "OrderedDict") + b"](" + NESTED + b"K\x01\x86e\x85R.", "a key that is tuple"),
    (PROTO + b"(" + NESTED + b"K\x01d.", "a key that is tuple"),
    (PROTO + b"\x8f(" + NESTED + b"\x90.", "an operation that no state dict needs"),
    (PROTO + b"\x8e" + struct.pack("<Q", 2**40) + STOP, "an operation that no state dict needs"),
    (PROTO + b"\x96" + struct.pack("<Q", 2**40) + STOP, "an operation that no state dict needs"),
    (PROTO + b"}K\x01K\x02s" + b"K\x01R.", "calls dict|is int, not a tensor|its pickle calls"),
    (PROTO + FUNCTION + b")\x81.", "an operation that no state dict needs"),
    (PROTO + b"\x82\x01.", "an operation that no state dict needs"),
    (PROTO + b"Pname\n.", "an operation that no state dict needs"),
])
def test_pickles_that_would_do_harm(content: bytes, problem: str, tmp_path: Path) -> None:
    before = {function: (function.__kwdefaults__, function.__defaults__, dict(vars(function))) for function in _CALLED.values()}
    with pytest.raises(FormatError, match=problem):
        load_torch_checkpoint(checkpoint(tmp_path / "m.bin", content))
    assert before == {f: (f.__kwdefaults__, f.__defaults__, dict(vars(f))) for f in before}
    assert np.dtype("f4").isnative and np.dtype("<f4").str == "<f4"


@pytest.mark.parametrize(("content", "size"), [
    (PROTO + b"}r" + struct.pack("<I", 2**31 - 1) + STOP, "a number of the memo"), (tensor((2**60,), (0,)), "a tensor"),
    (tensor((2**30,), (0,)), "a tensor"), (tensor((1,), (1,), 2**60), "a storage"),
    (tensor((0, 2**62, 2**62), (1, 1, 1)), "an axis"), (tensor((1,) * 100, (1,) * 100), "axes"),
])
def test_what_a_pickle_claims_takes_no_memory(content: bytes, size: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "m.bin", content, **{"0": bytes(16)})
    with limited_memory(2**28):
        assert judge(load_torch_checkpoint, path) is None, size


def test_a_storage_of_the_old_form_is_not_read_further_than_the_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join(parts) + tensor((1,), (1,), 2**60) + pickle.dumps(["0"], 2) + struct.pack("<q", 2**60) + bytes(8))
    with pytest.raises(FormatError, match="cut off"):
        load_torch_checkpoint(path)
    path.write_bytes(b"".join(parts) + PROTO + b"X\xff\xff\xff\xffabc")
    with pytest.raises(FormatError, match="cut off"):
        load_torch_checkpoint(path)


def test_archives_that_stand_for_more_than_they_are(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "m.bin", tensor((1,), (1,), 2**20), zipfile.ZIP_DEFLATED, **{"0": bytes(2**22)})
    with pytest.raises(FormatError, match="is compressed"):
        load_torch_checkpoint(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", tensor((4,), (1,)))
        file.writestr("m/data/0", bytes(2**16))
        for name in "123":  # entries of the directory alone
            file.filelist.append(copy.copy(file.getinfo("m/data/0")))
            file.filelist[-1].filename = f"m/data/{name}"
    with pytest.raises(FormatError, match="share bytes"):
        load_torch_checkpoint(path)


def test_an_entry_that_claims_to_be_compressed_to_more(tmp_path: Path) -> None:
    """Python's zipfile asks the file for as many bytes at once."""
    with zipfile.ZipFile(tmp_path / "m.bin", "w") as file:
        file.writestr("m/data.pkl", tensor((4,), (1,)))
        file.writestr("m/data/0", bytes(16))
        file.getinfo("m/data/0").compress_size = 2**31 - 1
    with limited_memory(2**28), pytest.raises(FormatError, match="is compressed"):
        load_torch_checkpoint(tmp_path / "m.bin")


def test_a_dict_whose_methods_were_hidden(tmp_path: Path) -> None:
    """torch's own state dicts have attributes; one called `items` is no method of what is read."""
    state = global_("collections", "OrderedDict") + b")R"
    path = checkpoint(tmp_path / "m.bin", PROTO + state + b"N}" + text("items") + b"K\x05s\x86b.")
    assert load_torch_checkpoint(path) == {} == OrderedDict()


def safetensors(header: object, data: bytes = b"") -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def entry(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(("header", "problem"), [
    ({"a": entry([0, 2**62, 2**62], 0, 0)}, "a shape that no array has"), ({"a": entry([0, 2**63], 0, 0)}, "that no array has"),
    ({"a": entry([1] * 5000, 0, 4)}, "a shape that no array has"), ({"a": entry([10**4000] * 100, 0, 4)}, "that no array has"),
    ({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, "'a' and 'b' share bytes"),
    ({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, "'a' and 'b' share bytes"),
    ({"a": entry([2], 0, 8), "b": entry([True], 8, 12)}, "lies outside"),
    *(({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}, "'a' is damaged") for shape in ({}, "", None, {"1": 2})),
])
def test_safetensors_that_stand_for_more_than_they_are(header: object, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(header, bytes(16)))
    with pytest.raises(FormatError, match=problem):
        load_safetensors(path)


def test_safetensors_that_only_look_like_it(tmp_path: Path) -> None:
    """Empty tensors anywhere, holes, any order."""
    path = tmp_path / "x.safetensors"
    header = {"b": entry([1], 8, 12), "e": entry([0, 2], 4, 4), "a": entry([2], 0, 8), "f": entry([0], 16, 16)}
    path.write_bytes(safetensors(header, bytes(16)))
    assert {name: array.shape for name, array in load_safetensors(path).items()} == {"b": (1,), "e": (0, 2), "a": (2,), "f": (0,)}


@pytest.mark.parametrize("file", ["../x.safetensors", "inner/../../x.safetensors", "inner/x.safetensors", "/etc/passwd", "..",
                                  ".", "", "a\0b", "a" * 300, "missing.safetensors", "y.index.json"])
def test_shards_lie_beside_their_index(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    for place in (tmp_path, folder / "inner"):
        (place / "x.safetensors").write_bytes(safetensors({"w": entry([1], 0, 4)}, bytes(4)))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": file}}))
    with pytest.raises(FormatError, match=r"which is no file beside it|not another index"):
        load_safetensors(index)


def test_arrays_of_numpy_that_claim_sizes(tmp_path: Path) -> None:
    from tgraph.cli.run import _load
    from tgraph.ir.errors import InputError

    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    for content in (file.getvalue(), b"PK\x03\x04", b"", pickle.dumps([1]), b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(InputError, match="is no array of NumPy"):
            _load(tmp_path / "x.npy")
    for array in (np.zeros((0, 3)), np.array(2.0), np.arange(6).reshape(2, 3)):
        np.save(tmp_path / "x.npy", array)
        assert np.array_equal(_load(tmp_path / "x.npy"), array) and _load(tmp_path / "x.npy").flags.writeable
