"""Arrays to TVM tensors and back, without copies where the memory allows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from targets.tvm_api import tvm

ALIGNMENT = 64


def share(array: np.ndarray) -> Any:
    """A TVM tensor over the array's own memory, which must be dense, writable and start at a multiple of 64 bytes."""
    if not array.size:  # nothing to share, and NumPy does not align it
        return tvm.runtime.empty(array.shape, array.dtype.name)
    if array.dtype.name == "bfloat16":  # DLPack of NumPy has no bf16
        raw: Any = tvm.runtime.from_dlpack(array.view(np.uint16))
        return raw._create_view(array.shape, "bfloat16")
    return tvm.runtime.from_dlpack(array)


def as_tensor(array: np.ndarray) -> Any:
    """A TVM tensor with the array's content: shared if possible, else copied."""
    array = np.ascontiguousarray(array)
    if array.size and array.flags.writeable and array.ctypes.data % ALIGNMENT == 0 and array.dtype.kind in "iuf":
        return share(array)
    return tvm.runtime.tensor(array)
