"""Checkpoints that `torch.save` wrote, read without PyTorch: named tensors, as zip archive or in the form before PyTorch 1.6.

The names and shapes are a pickle, a program that could call anything. Here it can call what rebuilds tensors and dicts, and
change nothing but dicts and lists of its own: `find_class` is all that a pickle reaches functions by (Python's documentation,
"Restricting Globals"), and its operations are those that are needed for this.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from ..ir.array_shapes import is_array_shape
from ..ir.errors import FormatError
from ..ir.file_formats import format

_STORAGES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"), "FloatStorage": np.dtype("<f4"), "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16), "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("i1"), "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("bool"),
}
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_MOST_REPEATED = 2**24  # elements of a tensor that repeats those of its storage (torch.Tensor.expand)


@format(".pth")
@format(".pt")
@format(".bin")
class TorchFormat:
    """Named arrays, such as the weights of a model, as PyTorch writes them."""

    @staticmethod
    def arrays(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray]:
        """Arrays by name."""
        return load_torch_checkpoint(path)


def load_torch_checkpoint(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray]:
    """The tensors of a state dict by name, read into memory.

    Raises FormatError for what is no state dict, is damaged, or holds anything but tensors, and OSError if there is no file.
    """
    path = Path(path)
    with open(path, "rb") as file:
        try:
            state = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None
        except Exception as error:  # a damaged pickle fails in many ways
            raise FormatError(f"{path} is no checkpoint of PyTorch's, or is damaged: {type(error).__name__}: {error}") from None
    if not isinstance(state, dict):
        raise FormatError(f"{path} holds {type(state).__name__}, not the state dict of a model")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise FormatError(f"{path}: {name!r} is {type(value).__name__}, not a tensor; a state dict, as model.state_dict() "
                              "gives it, holds nothing else")
    return state


class _Storage(NamedTuple):
    """A run of elements that tensors are views of."""

    elements: np.ndarray


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    """A tensor as a view of its storage, checked to lie within it."""
    elements, numbers = storage.elements, (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise FormatError(f"a tensor of shape {shape} has strides {strides}")
    if not is_array_shape(shape, elements.itemsize):
        raise FormatError(f"a tensor has a shape that no array has, {str(shape)[:80]}")
    if math.prod(shape) > max(elements.size, _MOST_REPEATED):
        raise FormatError(f"a tensor of shape {shape} repeats {elements.size} elements; up to {_MOST_REPEATED} are made so")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
    if 0 not in shape and last >= elements.size:
        raise FormatError(f"a tensor of shape {shape} lies outside of its storage of {elements.size} elements")
    if 0 in shape:
        return np.zeros(shape, elements.dtype)
    step = elements.strides[0]
    return np.lib.stride_tricks.as_strided(elements[offset:], shape, [stride * step for stride in strides], writeable=False)


def _rebuild_parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    return tensor


def _dictionary(items: Iterable[tuple[Any, Any]] = ()) -> dict[Any, Any]:
    """What an OrderedDict is read as."""
    found: dict[Any, Any] = {}
    for key, value in items:
        found[_key(key)] = value
    return found


def _key(key: Any) -> Any:
    """The key of a dict, which is hashed: of a tuple that is nested deep enough, the hash overflows the stack of the process."""
    if not isinstance(key, (str, int)):
        raise FormatError(f"its pickle has a dict with a key that is {type(key).__name__}")
    return key


_CALLED = {("collections", "OrderedDict"): _dictionary, ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
           ("torch._utils", "_rebuild_parameter"): _rebuild_parameter}


class _Operations(dict[int, Callable[[Any], None]]):
    """What the operations of a pickle do, by their codes."""

    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise FormatError(f"its pickle has an operation that no state dict needs, of code {code}")


# Python's own reader in C would set the attributes of any object, functions and element types among them, take memory for what
# a few bytes claim, and hash whatever a key is. Its twin in Python is a table of operations, of which those remain that make
# numbers, texts, lists, tuples and dicts.
_READER: Any = pickle._Unpickler  # type: ignore[attr-defined]
_NEEDED = [pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.DUP, pickle.NONE,
           pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG, pickle.LONG1,
           pickle.FLOAT, pickle.BINFLOAT, pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.UNICODE,
           pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.EMPTY_LIST, pickle.LIST, pickle.APPEND, pickle.APPENDS,
           pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_DICT, pickle.GET,
           pickle.BINGET, pickle.LONG_BINGET, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.GLOBAL,
           pickle.STACK_GLOBAL, pickle.BINPERSID]


class _Unpickler(_READER):  # type: ignore[misc]
    """Reads tensors and dicts, and refuses to do anything else."""

    dispatch = _Operations({code[0]: _READER.dispatch[code[0]] for code in _NEEDED})

    def __init__(self, file: Any, storage: Callable[[str, np.dtype[Any], int], _Storage] | None = None):
        super().__init__(file, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CALLED:
            return _CALLED[module, name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise FormatError(f"its pickle asks for {module}.{name}; only tensors and dicts are read. Write the model's state dict "
                          "as model.safetensors: safetensors.torch.save_model(model, file)")

    def persistent_load(self, pid: Any) -> _Storage:
        if self.storage is None:
            raise FormatError("its pickle has a tensor where none belongs")
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(count, int) or count < 0:
            raise FormatError(f"its pickle has an unknown kind of storage: {kind!r}")
        if len(pid) > 5 and pid[5] is not None:
            raise FormatError("its tensors are views of storages in the form of PyTorch 0.1, which is not read")
        if not isinstance(key, str):
            raise FormatError("its pickle has a storage without a name")
        return self.storage(key, dtype, count)

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not any(function is known for known in _CALLED.values()):
            raise FormatError(f"its pickle calls {type(function).__name__}")
        self.append(function(*arguments))

    def load_build(self) -> None:
        """Attributes of a dict, such as the versions of modules, are left out."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise FormatError(f"its pickle sets attributes of {type(self.stack[-1]).__name__}")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def _set(self, items: list[Any]) -> None:
        found = self.stack[-1]
        if not isinstance(found, dict):
            raise FormatError(f"its pickle sets elements of {type(found).__name__}")
        found.update(_dictionary(zip(items[::2], items[1::2])))

    dispatch.update({pickle.REDUCE[0]: load_reduce, pickle.BUILD[0]: load_build, pickle.SETITEM[0]: load_setitem,
                     pickle.SETITEMS[0]: load_setitems, pickle.DICT[0]: load_dict})


class _Bounded:
    """A file that refuses to read more than there is, before memory is taken for it."""

    def __init__(self, file: IO[bytes]):
        self.file, self.size = file, os.fstat(file.fileno()).st_size
        self.readline, self.tell, self.seek = file.readline, file.tell, file.seek

    def read(self, count: int) -> bytes:
        if count > self.size - self.tell():
            raise FormatError("it is cut off")
        return self.file.read(count)

    def readinto(self, buffer: Any) -> int:
        return self.file.readinto(buffer)  # type: ignore[attr-defined,no-any-return]


def _read_zip(file: IO[bytes]) -> Any:
    """What a zip archive holds: data.pkl, and a file for each storage."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [e.filename for e in entries if e.filename == "data.pkl" or e.filename.endswith("/data.pkl")]
        if len(names) != 1:
            raise FormatError("it is a zip archive without data.pkl, so not one of torch.save")
        if any(e.compress_type != zipfile.ZIP_STORED or e.compress_size != e.file_size for e in entries):
            raise FormatError("it is compressed, which torch.save does not do")
        if sum(e.file_size for e in entries) > os.fstat(file.fileno()).st_size:
            raise FormatError("its entries share bytes, or it is cut off")
        folder = names[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise FormatError("its numbers are big-endian; only little-endian ones are read")
        found: dict[str, _Storage] = {}

        def storage(key: str, dtype: np.dtype[Any], count: int) -> _Storage:
            if key not in found:
                found[key] = _elements(archive.read(f"{folder}data/{key}"), dtype, count)
            return found[key]

        return _Unpickler(io.BytesIO(archive.read(names[0])), storage).load()


def _read_legacy(whole: IO[bytes]) -> Any:
    """What a file from before PyTorch 1.6 holds: pickles of magic number, version, system, state and keys, then the storages."""
    file = _Bounded(whole)
    file.seek(0)
    if _Unpickler(file).load() != _LEGACY_MAGIC or _Unpickler(file).load() != _LEGACY_VERSION:
        raise FormatError("it is not what torch.save writes")
    system = _Unpickler(file).load()
    if not system.get("little_endian", True):
        raise FormatError("its numbers are big-endian; only little-endian ones are read")
    start, sizes = file.tell(), {}

    def sized(key: str, dtype: np.dtype[Any], count: int) -> _Storage:
        sizes[key] = (dtype, count)  # the elements come after the pickle: at first each stands for all of its storage
        return _Storage(np.broadcast_to(np.zeros(1, dtype), count))

    _Unpickler(file, sized).load()
    found = {}
    for key in _Unpickler(file).load():
        dtype, count = sizes[_key(key)]
        if struct.unpack("<q", file.read(8))[0] != count:
            raise FormatError(f"its storage {key} is not as long as its tensors say")
        found[key] = _elements(file.read(count * dtype.itemsize), dtype, count)
    file.seek(start)
    return _Unpickler(file, lambda key, dtype, count: found[key]).load()


def _elements(content: bytes, dtype: np.dtype[Any], count: int) -> _Storage:
    if len(content) < count * dtype.itemsize:
        raise FormatError(f"a storage of {count} elements has {len(content)} bytes, so the file is cut off")
    return _Storage(np.frombuffer(content, dtype, count))
