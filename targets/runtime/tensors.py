"""Arrays to TVM tensors and back, without copies where the memory allows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from targets.base.tvm_api import tvm, tvm_ffi

_AS_INTEGERS = {"bool": np.uint8, "bfloat16": np.uint16}  # element types that NumPy's DLPack, or its reader, does not take


def shareable(array: np.ndarray) -> bool:
    """Whether kernels can use the array's own memory: dense, writable, each element at a multiple of its size."""
    flags = array.flags
    return bool(flags.c_contiguous and flags.writeable and flags.aligned)


def share(array: np.ndarray) -> Any:
    """A TVM tensor over the memory of a `shareable` array."""
    if not array.size:  # nothing to share, and NumPy does not align it
        return tvm.runtime.empty(array.shape, array.dtype.name)
    if array.dtype.kind not in "iuf":
        integers = array.view(_AS_INTEGERS[array.dtype.name])
        return _from_dlpack(integers)._create_view(array.shape, array.dtype.name)
    return _from_dlpack(array)


def _from_dlpack(array: np.ndarray) -> Any:
    """As tvm.runtime.from_dlpack, which asks for multiples of 64 bytes; kernels do not (`_declare` in `kernel_builder.py`)."""
    return tvm_ffi.from_dlpack(array, require_alignment=array.itemsize, require_contiguous=True)


def as_tensor(array: np.ndarray) -> Any:
    """A TVM tensor with the array's content: shared if possible, else copied."""
    return share(array) if shareable(array) else tvm.runtime.tensor(np.ascontiguousarray(array))
