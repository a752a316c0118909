"""Arrays to TVM tensors and back, without copies where the memory allows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from targets.base.tvm_api import tvm, tvm_ffi

# how to share element types that NumPy's DLPack, or its reader, does not take
_AS_INTEGERS: dict[str, type[np.unsignedinteger[Any]]] = {"bool": np.uint8, "bfloat16": np.uint16}


def shareable(array: np.ndarray) -> bool:
    """Whether kernels can use the array's own memory: dense, writable, each element at a multiple of its size."""
    flags = array.flags
    return bool(flags.c_contiguous and flags.writeable and flags.aligned)


def share(array: np.ndarray) -> Any:
    """A TVM tensor over the memory of a `shareable` array."""
    if not array.size:  # nothing to share, and NumPy does not align it
        return tvm.runtime.empty(array.shape, array.dtype.name)
    if array.dtype.kind not in _KINDS:
        integers = array.view(_AS_INTEGERS[array.dtype.name])
        return _from_dlpack(integers)._create_view(array.shape, array.dtype.name)
    return _from_dlpack(array)


def argument(array: np.ndarray) -> Any:
    """A `shareable` array for the call of a TVM function: itself where the call makes the tensor, in a third of the time."""
    return array if array.size and array.dtype.kind in _KINDS else share(array)


def _from_dlpack(array: np.ndarray) -> Any:
    """As tvm.runtime.from_dlpack, which asks for multiples of 64 bytes; kernels do not (`_declare` in `kernel_builder.py`)."""
    return tvm_ffi.from_dlpack(array, require_alignment=array.itemsize, require_contiguous=True)


def as_tensor(array: np.ndarray) -> Any:
    """A TVM tensor with the array's content: shared if possible, else copied."""
    return share(array) if shareable(array) else tvm.runtime.tensor(np.ascontiguousarray(array))


def _shared_as_they_are() -> str:
    """The kinds of element types that need no other; from NumPy 2 on also booleans, which take ten times as long as integers."""
    try:
        _from_dlpack(np.zeros(1, np.bool_))
    except BufferError:
        return "iuf"
    return "iufb"


_KINDS = _shared_as_they_are()
