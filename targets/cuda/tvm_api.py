"""Names that depend on TVM's version and that only CUDA needs: its runtime, streams, tensors of the GPU."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tvm_ffi
from tvm import base
from tvm_ffi.libinfo import load_lib_ctypes
from tvm_ffi.structural import structural_walk

from targets.base.tvm_api import tirx, tvm


@contextlib.contextmanager
def replaced(name: str, function: Callable[..., object]) -> Iterator[None]:
    """A context in which another function has the name of one of TVM's global functions."""
    before = tvm.get_global_func(name)
    tvm_ffi.register_global_func(name, function, override=True)
    try:
        yield
    finally:
        tvm_ffi.register_global_func(name, before, override=True)


def load_cuda_runtime() -> bool:
    """Load TVM's CUDA runtime, whose own libraries must be found; whether it is there now."""
    if tvm.get_global_func("device_api.cuda", allow_missing=True) is None:
        folder = Path(base._LOADED_LIBS["tvm_runtime"]._name).resolve().parent
        with contextlib.suppress(OSError, RuntimeError):
            base._LOADED_LIBS["tvm_runtime_cuda"] = load_lib_ctypes("tvm", "tvm_runtime_cuda", "RTLD_LOCAL", [folder])
    return tvm.get_global_func("device_api.cuda", allow_missing=True) is not None


@contextlib.contextmanager
def cuda_stream(stream: int) -> Iterator[None]:
    """A context in which TVM launches kernels of this thread on a stream of device 0, by its address (0: the default one)."""
    with tvm_ffi.use_raw_stream(tvm.cuda(0), stream):
        yield


def allocations(function: Any) -> list[Any]:
    """The statements of a TIR function that allocate buffers."""
    found: list[Any] = []
    structural_walk(function, [(tirx.AllocBuffer, found.append)])
    return found


def empty(size: int) -> Any:
    """A tensor of uninitialised bytes on device 0. Raises RuntimeError if there is no memory for it."""
    return tvm.runtime.empty((max(size, 1),), "uint8", tvm.cuda(0))


def is_shared(tensor: Any) -> bool:
    """Whether anything but this handle holds a tensor: a view of it, or another library that took it by DLPack.

    An object of TVM's begins with its count of owners, 32 bits.
    """
    return ctypes.c_uint32.from_address(tensor.__chandle__()).value > 1


def from_capsule(capsule: Any) -> Any:
    """A tensor over the memory of a DLPack capsule, however that is aligned and strided."""
    return tvm_ffi.from_dlpack(capsule, require_alignment=0, require_contiguous=False)


def current_stream() -> int:
    """The address of the stream to which this thread's kernels go on device 0."""
    return int(tvm_ffi.get_raw_stream(tvm.cuda(0)))
