"""Files of named arrays in the safetensors format: a JSON header, then little-endian tensors. Files are mapped, not read.

Source: the format's description at https://github.com/huggingface/safetensors (README, "Format").
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ..ir.array_shapes import is_array_shape
from ..ir.errors import FormatError
from ..ir.file_formats import format, read_arrays
from .disk import replacing

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("bool"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LONGEST_HEADER = 100_000_000  # the limit that the format sets
_ALIGNMENT = 64  # of the first tensor; the format lets none be padded after it


@format(".safetensors")
class SafetensorsFormat:
    """Named arrays, such as the weights of a model."""

    @staticmethod
    def arrays(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray]:
        """Arrays by name, mapped, not read."""
        return load_safetensors(path)


class TensorFile(Mapping[str, np.ndarray]):
    """The tensors of one file by name: read-only arrays over the mapped file, which lives as long as any of them."""

    def __init__(self, path: Path, entries: Mapping[str, Any], metadata: dict[str, str], data: np.ndarray):
        self.path: Path = path
        self.metadata: dict[str, str] = metadata
        self._entries, self._data = dict(entries), data

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._entries[name]
        start, stop = entry["data_offsets"]
        return self._data[start:stop].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def load_safetensors(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray]:
    """Arrays by name, mapped, not read; of a sharded checkpoint too, by its `*.safetensors.index.json`.

    Raises FormatError if the file is damaged, and OSError if there is none.
    """
    return read_arrays(path) if Path(path).suffix == ".json" else open_tensors(Path(path))


def open_tensors(path: Path) -> TensorFile:
    """Map one file and check its header: known dtypes, and sizes that fit the shapes and the file."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""  # what is empty cannot be mapped
    return view_tensors(np.frombuffer(mapped, dtype=np.uint8), path)


def view_tensors(content: np.ndarray, path: Path) -> TensorFile:
    """The tensors in the bytes of a file, which are not copied. `path`: its name in errors. Raises FormatError."""
    size = content.size
    length = struct.unpack("<Q", content[:8].data)[0] if size >= 8 else 0
    if size < 8 or length > min(size - 8, _LONGEST_HEADER):
        raise FormatError(f"{path} is no safetensors file, or is cut off: its header does not fit in {size} bytes")
    try:
        header = json.loads(content[8:8 + length].tobytes())
        metadata = dict(header.pop("__metadata__", {}))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise FormatError(f"{path} is no safetensors file: its header is no JSON object ({error})") from None
    data = content[8 + length:]
    for name, entry in header.items():
        _check_entry(path, name, entry, data.size)
    _check_apart(path, header)
    return TensorFile(path, header, metadata, data)


def _check_entry(path: Path, name: str, entry: Any, size: int) -> None:
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(shape, list):
            raise TypeError
        sizes_fit = all(type(n) is int and n >= 0 for n in (*shape, start, stop)) and start <= stop <= size
    except (KeyError, TypeError, ValueError):
        raise FormatError(f"{path}: the header's entry for tensor {name!r} is damaged") from None
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FormatError(f"{path}: tensor {name!r} has dtype {dtype}; known: {', '.join(_DTYPES)}")
    if not sizes_fit:
        raise FormatError(f"{path}: tensor {name!r} lies outside of the file, which is cut off or damaged")
    if not is_array_shape(shape, _DTYPES[dtype].itemsize):
        raise FormatError(f"{path}: tensor {name!r} has a shape that no array has, {str(shape)[:80]}")
    wanted = math.prod(shape) * _DTYPES[dtype].itemsize
    if stop - start != wanted:
        raise FormatError(f"{path}: tensor {name!r} ({dtype}{shape}) needs {wanted} bytes, "
                          f"the file gives {stop - start}")


def _check_apart(path: Path, header: Mapping[str, Any]) -> None:
    """No two tensors share bytes: so says the format, and a small file could stand for any amount of weights otherwise."""
    last, end = "", 0
    for start, stop, name in sorted((*entry["data_offsets"], name) for name, entry in header.items()):
        if start < min(end, stop):
            raise FormatError(f"{path}: the tensors {last!r} and {name!r} share bytes, which the format forbids")
        last, end = (name, stop) if stop > end else (last, end)


def save_safetensors(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray],
                     metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name. The file appears when it is complete.

    Raises FormatError for an element type or a name that the format lacks.
    """
    parts = tensor_parts(path, tensors, metadata)
    with replacing(Path(path), sum(part.nbytes for part in parts)) as file:
        for part in parts:
            file.write(part.data)


def tensor_parts(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray],
                 metadata: Mapping[str, str] | None = None) -> list[np.ndarray]:
    """The content of a safetensors file, as arrays of bytes to be written one after the other."""
    if "__metadata__" in tensors:
        raise FormatError(f"{os.fspath(path)}: no tensor of a safetensors file can be named '__metadata__'")
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    arrays = {name: _little_endian(np.asarray(tensors[name])) for name in tensors}
    # Wide elements first: every tensor is then aligned for its own elements.
    order = sorted(arrays, key=lambda n: (-arrays[n].dtype.itemsize, n))
    offset = 0
    for name in order:
        array = arrays[name]
        if array.dtype not in _NAMES:
            raise FormatError(f"{os.fspath(path)}: safetensors has no dtype for tensor {name!r} ({array.dtype})")
        stop = offset + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    parts = [np.frombuffer(struct.pack("<Q", len(text)) + text, np.uint8)]
    return parts + [np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8) for name in order]


def _little_endian(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"), copy=False) if array.dtype.kind in "iuf" else array
