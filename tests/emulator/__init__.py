"""An emulated CUDA device: what TVM compiled for CUDA runs on the host, thread by thread. See README.md."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from .build import Builder, missing
from .compiler import host_source

__all__ = ["ORDERS", "activate", "active", "check", "load_cublaslt", "missing", "order", "racecheck"]

# Threads, warps and blocks between barriers; asynchronous copies at their wait or at once.
ORDERS = {"forward": (0, 0, 0), "reverse": (1, 0, 1), "shuffled": (2, 1, 0)}
_driver: ctypes.CDLL | None = None
_order = "forward"


def activate() -> None:
    """Makes this process see one CUDA device, of compute capability 9.0. Must come before TVM is imported.

    Raises RuntimeError if TVM is there already, or if something is missing here.
    """
    global _driver
    if _driver is not None:
        return
    if "tvm" in sys.modules:
        raise RuntimeError("the emulated CUDA device must be activated before TVM is imported")
    if lacking := missing():
        raise RuntimeError(f"the emulated CUDA device needs {lacking}")
    builder = Builder()
    builder.prune()
    # TVM's CUDA runtime asks for these by name, and takes those that are loaded already
    driver, runtime = (ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL) for path in builder.libraries())
    driver.emulator_set_order.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.c_int]
    driver.emulator_check.restype = ctypes.c_char_p
    import tvm_ffi
    from tvm.support import nvcc  # registers the callback that is replaced here
    from tvm.target import Target

    def compile_cuda(source: str) -> bytes:
        target = Target.current(allow_none=True)
        arch = str(target.attrs["arch"]) if target is not None and "arch" in target.attrs else "sm_90"
        digits = "".join(c for c in arch if c.isdigit())
        return builder.kernels(host_source(source, int(digits))).read_bytes()

    tvm_ffi.register_global_func("tvm_callback_cuda_compile", compile_cuda, override=True)
    from targets.cuda import compilers

    compiler = Emulated(builder)
    compilers.COMPILERS.clear()
    compilers.COMPILERS["emulator"] = lambda: compiler
    for switch in ("TGRAPH_CUBLASLT", "TGRAPH_TRITON"):  # what this machine has of it is for a GPU
        os.environ.setdefault(switch, "off")
    del nvcc, runtime
    _driver = driver
    _set_order(os.environ.get("TGRAPH_EMULATOR_ORDER", "forward"))


def load_cublaslt() -> None:
    """Makes this process find a cuBLASLt. Kernels still have to ask for it (TGRAPH_CUBLASLT)."""
    ctypes.CDLL(str(Builder().cublaslt()), ctypes.RTLD_GLOBAL)


class Emulated:
    """What tgraph compiles CUDA source with meanwhile: g++."""

    name = "the emulator"

    def __init__(self, builder: Builder):
        self.builder = builder

    def cubin(self, source: str, arch: str) -> tuple[bytes, str]:
        return self.builder.kernels(host_source(source, int(arch.removeprefix("sm_")))).read_bytes(), ""

    def ptx(self, source: str, arch: str) -> str:
        return "// the emulator has no PTX"


def active() -> bool:
    """Whether this process has the emulated device."""
    return _driver is not None


def check() -> None:
    """Raises AssertionError if something was written beside an allocation and no call has told so yet."""
    if _driver is not None and (text := _driver.emulator_check()):
        raise AssertionError(text.decode())


def _set_order(name: str) -> None:
    global _order
    assert _driver is not None, "the emulator is not active"
    _driver.emulator_set_order(*ORDERS[name])
    _order = name


@contextmanager
def order(name: str) -> Iterator[None]:
    """Threads run in one of `ORDERS` meanwhile."""
    before = _order
    _set_order(name)
    try:
        yield
    finally:
        _set_order(before)


def racecheck(run: Callable[[], Sequence[np.ndarray]]) -> None:
    """Calls `run` once in each order. Raises AssertionError if its arrays' bits differ: a missing barrier, or a missing wait."""
    results = {}
    for name in ORDERS:
        with order(name):
            results[name] = [np.ascontiguousarray(array) for array in run()]
    for name, arrays in results.items():
        for i, (expected, array) in enumerate(zip(results["forward"], arrays, strict=True)):
            wrong = np.flatnonzero((_bytes(expected) != _bytes(array)).any(axis=1))
            if wrong.size:
                raise AssertionError(f"result {i} depends on the order of threads (forward or {name}): {wrong.size} of "
                                     f"{expected.size} elements differ, first {np.unravel_index(wrong[0], expected.shape)}")


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(array.tobytes(), np.uint8).reshape(-1, array.itemsize)
