"""PyTorch's checkpoints, read without PyTorch: every element type and view, both forms; no code of a file is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tgraph.formats.torch_checkpoint import load_torch_checkpoint
from tgraph.ir.errors import FormatError
from tgraph.ir.file_formats import read_arrays

FOLDER = Path(__file__).parent / "torch"  # written by torch_files.py
NUMBERS = np.arange(12, dtype=np.float32)
EXPECTED = {
    "f32": NUMBERS, "rows": NUMBERS.reshape(3, 4)[1:], "turned": NUMBERS.reshape(3, 4).T, "scalar": np.float32(2.5),
    "empty": np.zeros((0, 3), np.float32), "parameter": np.array([[1, -2]], np.float32), "once": np.full(3, 7, np.float32),
    **{name: np.array([0, 1, 2]).astype(dtype) for name, dtype in (
        ("f64", "f8"), ("f16", "f2"), ("bf16", ml_dtypes.bfloat16), ("i64", "i8"), ("i32", "i4"), ("i16", "i2"), ("i8", "i1"),
        ("u8", "u1"), ("bool", "?"))},
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_tensors_are_what_pytorch_saved(form: str) -> None:
    found = load_torch_checkpoint(FOLDER / f"{form}.bin")
    assert list(found) == list(EXPECTED)
    for name, array in EXPECTED.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert np.array_equal(found[name], array), name
        assert not found[name].flags.writeable or not found[name].size


def test_weights_files_are_read_by_their_suffix(tmp_path: Path) -> None:
    assert np.array_equal(read_arrays(FOLDER / "module.bin")["weight"], np.full((3, 2), 3, np.float32))
    content = (FOLDER / "module.bin").read_bytes()
    for name in ("a.PT", "b.pth"):
        (tmp_path / name).write_bytes(content)
        assert set(read_arrays(tmp_path / name)) == {"weight", "bias"}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"weight": "a.PT", "bias": "b.pth"}}))
    assert np.array_equal(read_arrays(index)["bias"], np.full(3, 4, np.float32))
    index.write_text(json.dumps({"weight_map": {"weight": "pytorch_model.bin.index.json"}}))
    with pytest.raises(FormatError, match="not another index"):
        read_arrays(index)


@pytest.mark.parametrize(("file", "text"), [
    ("whole_module.bin", r"asks for torch\.nn\.modules\.linear\.Linear; only tensors and dicts.*save_model"),
    ("nested.bin", r"'model' is dict, not a tensor"),
])
def test_what_is_no_state_dict_is_refused(file: str, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        load_torch_checkpoint(FOLDER / file)


class Harm:
    """Pickles to a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def archive(path: Path, content: bytes, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", content)
        for name, data in entries.items():
            file.writestr(f"m/{name.replace('__', '/')}", data)
    return path


@pytest.mark.parametrize("make", [lambda path, data: archive(path, data), lambda path, data: path.write_bytes(data) and path])
def test_no_code_of_a_file_is_run(make: Callable[[Path, bytes], Path], tmp_path: Path) -> None:
    there = tmp_path / "there"
    for harm in (Harm(os.system, f"touch {there}"), Harm(eval, f"open({str(there)!r}, 'w')"), Harm(getattr, there, "touch")):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            path = make(tmp_path / "m.bin", pickle.dumps({"weight": harm}, protocol))
            with pytest.raises(FormatError, match="only tensors and dicts are read"):
                load_torch_checkpoint(path)
    assert not there.exists()


def state_with(storage: tuple[Any, ...], *arguments: Any) -> bytes:
    """The pickle of a state dict with one tensor, made of a storage and the arguments of its view."""
    class Rebuild:
        def __reduce__(self) -> Any:
            return (Stand("torch._utils", "_rebuild_tensor_v2"), (Reference(storage), *arguments, False, None))

    class Writer(pickle._Pickler):  # type: ignore[name-defined]  # in Python, so that names can be written that are not here
        def persistent_id(self, thing: Any) -> Any:
            return thing.pid if isinstance(thing, Reference) else None

        def save_global(self, thing: Any, name: str | None = None) -> None:
            self.write(pickle.GLOBAL + f"{thing.module}\n{thing.name}\n".encode())

        def save(self, thing: Any, save_persistent_id: bool = True) -> None:
            if isinstance(thing, Stand):
                self.save_global(thing)
            else:
                super().save(thing, save_persistent_id)

    file = io.BytesIO()
    Writer(file, 2).dump({"weight": Rebuild()})
    return file.getvalue()


class Stand:
    """The name of something in a module, in its place."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __call__(self) -> None:
        raise AssertionError("only its name is used")


class Reference:
    """A persistent id, in its place."""

    def __init__(self, pid: tuple[Any, ...]):
        self.pid = pid


FLOATS = ("storage", Stand("torch", "FloatStorage"), "0", "cpu", 4)
BYTES = np.arange(4, dtype=np.float32).tobytes()


def test_hand_written_views(tmp_path: Path) -> None:
    found = load_torch_checkpoint(archive(tmp_path / "m.bin", state_with(FLOATS, 1, (3,), (1,)), data__0=BYTES))
    assert found["weight"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("storage", "view", "text"), [
    (FLOATS, (0, (5,), (1,)), r"lies outside of its storage of 4 elements"),
    (FLOATS, (2, (3,), (1,)), r"lies outside of its storage"),
    (FLOATS, (0, (2, 2), (4, 1)), r"lies outside of its storage"),
    (FLOATS, (3, (2,), (-1,)), r"shape \(2,\) has strides \(-1,\)"),
    (FLOATS, (-1, (2,), (1,)), r"shape \(2,\) has strides"),
    (FLOATS, (0, (2,), (1, 1)), r"shape \(2,\) has strides"),
    (("storage", Stand("torch", "FloatStorage"), "0", "cpu", 5), (0, (5,), (1,)), r"5 elements has 16 bytes"),
    (("module", Stand("torch", "FloatStorage"), "0", "cpu", 4), (0, (4,), (1,)), r"unknown kind of storage: 'module'"),
    (("storage", Stand("torch", "QInt8Storage"), "0", "cpu", 4), (0, (4,), (1,)), r"asks for torch.QInt8Storage"),
    (("storage", Stand("torch", "FloatStorage"), "1", "cpu", 4), (0, (4,), (1,)), r"no item named 'm/data/1'"),
])
def test_damaged_views_are_refused(storage: tuple[Any, ...], view: tuple[Any, ...], text: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=text):
        load_torch_checkpoint(archive(tmp_path / "m.bin", state_with(storage, *view), data__0=BYTES))


def test_big_endian_and_other_archives(tmp_path: Path) -> None:
    pickled = state_with(FLOATS, 0, (4,), (1,))
    with pytest.raises(FormatError, match="big-endian"):
        load_torch_checkpoint(archive(tmp_path / "m.bin", pickled, data__0=BYTES, byteorder=b"big"))
    with zipfile.ZipFile(tmp_path / "z.bin", "w") as file:
        file.writestr("readme.txt", "")
    with pytest.raises(FormatError, match=r"without data\.pkl"):
        load_torch_checkpoint(tmp_path / "z.bin")


@pytest.mark.parametrize("form", ["zip", "legacy", "module"])
def test_files_cut_off_or_changed_anywhere(form: str, tmp_path: Path) -> None:
    """Such a file gives a FormatError or, where the change is not seen (PyTorch's older form has no checksums), tensors."""
    whole, path = (FOLDER / f"{form}.bin").read_bytes(), tmp_path / "m.bin"
    generator = np.random.default_rng(1)
    for length in generator.integers(0, len(whole), 60):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"m\.bin"):
            load_torch_checkpoint(path)
    for place in generator.integers(0, len(whole), 300):
        changed = bytearray(whole)
        changed[place] ^= int(generator.integers(1, 256))
        path.write_bytes(changed)
        try:
            found = load_torch_checkpoint(path)
        except FormatError as error:
            assert "m.bin" in str(error)
        else:
            assert all(isinstance(array, np.ndarray) for array in found.values())
