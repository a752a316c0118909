"""The CUDA runtime of this process: TVM's part of it, the driver, and what GPUs there are; if there are none, why."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from targets.base.linker import find_compiler
from targets.cuda.libraries import CUDART, DRIVER, INSTALL, find_library
from tgraph.ir.errors import CompileError, TargetError

NEEDED_DRIVER = 13000  # CUDA 13.0: what CUDART asks of a driver
CAPABILITY_MAJOR, CAPABILITY_MINOR, PROCESSORS = 75, 76, 16  # numbers of cudaDeviceAttr
INSUFFICIENT_DRIVER, NO_DEVICE = 35, 100  # numbers of cudaError
PROPERTIES = 16384  # bytes, more than cudaDeviceProp has; it begins with the device's name

# What TVM's CUDA runtime wants of the driver. With these it loads, and holds machine code, where there is no driver.
STUB = """
#define FAIL(name) int name(void) { return 100; }
FAIL(cuInit) FAIL(cuDeviceGetName) FAIL(cuFuncSetAttribute) FAIL(cuLaunchKernelEx) FAIL(cuModuleGetFunction)
FAIL(cuModuleLoadData) FAIL(cuModuleUnload) FAIL(cuTensorMapEncodeTiled)
int cuGetErrorName(int error, const char** name) { *name = "CUDA_ERROR_NO_DEVICE"; return 0; }
int cuGetErrorString(int error, const char** text) { *text = "there is no NVIDIA driver"; return 0; }
"""


@dataclass(frozen=True)
class Gpu:
    """One device: its name, architecture ("sm_90"), bytes of memory in all and free, and number of multiprocessors."""

    name: str
    arch: str
    memory: int
    free: int
    processors: int


@functools.cache
def problem() -> str | None:
    """Why this machine cannot run CUDA, and what would help; None if it can."""
    cudart = find_library(CUDART)
    if cudart is None:
        return f"the CUDA runtime ({CUDART}) was not found: {INSTALL}, or add its folder to LD_LIBRARY_PATH"
    driver = find_library(DRIVER)
    if driver is None:
        return f"there is no NVIDIA driver ({DRIVER} was not found)"
    count = ctypes.c_int()
    error = cudart.cudaGetDeviceCount(ctypes.byref(count))
    if error == INSUFFICIENT_DRIVER or 0 < driver_version() < NEEDED_DRIVER:
        have = driver_version()
        return (f"the NVIDIA driver is too old: it is of CUDA {have // 1000}.{have % 1000 // 10}, "
                f"and CUDA {NEEDED_DRIVER // 1000}.0 is needed (driver 580 or later)")
    if error == NO_DEVICE or (error == 0 and count.value == 0):
        return "there is no NVIDIA GPU, or none that this process may use (CUDA_VISIBLE_DEVICES)"
    return None if error == 0 else f"the NVIDIA driver does not work: {error_text(error)}"


@functools.cache
def driver_version() -> int:
    """The CUDA version of the driver, 13000 for 13.0; 0 if it does not say, or if there is none."""
    driver, version = find_library(DRIVER), ctypes.c_int()
    if driver is not None and hasattr(driver, "cuDriverGetVersion"):
        driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value


def error_text(error: int) -> str:
    """NVIDIA's name and description of an error of the CUDA runtime."""
    cudart = _cudart()
    cudart.cudaGetErrorName.restype = cudart.cudaGetErrorString.restype = ctypes.c_char_p
    return f"{cudart.cudaGetErrorName(error).decode()}, {cudart.cudaGetErrorString(error).decode()}"


def gpu() -> Gpu:
    """The GPU that is used: the first that this process may use. Raises TargetError that says why there is none."""
    reason = problem()
    if reason is not None:
        raise TargetError(f"this machine cannot run CUDA: {reason}")
    cudart = _cudart()
    free, total, properties = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.create_string_buffer(PROPERTIES)
    cudart.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    cudart.cudaGetDeviceProperties(properties, 0)
    arch = f"sm_{_attribute(CAPABILITY_MAJOR)}{_attribute(CAPABILITY_MINOR)}"
    return Gpu(properties.value.decode(), arch, total.value, free.value, _attribute(PROCESSORS))


def host_arch() -> str:
    """The architecture of this machine's GPU, "sm_90"; "" if it has none that can be used."""
    return "" if problem() else gpu().arch


def require_arch() -> str:
    """The architecture of this machine's GPU. Raises TargetError that says why there is none, and what to compile for instead."""
    if problem() is not None:
        raise TargetError(f"target 'cuda': {problem()}; to compile for another machine, name its GPU's architecture: "
                          "cuda:sm_80 (A100), cuda:sm_90 (H100)")
    return gpu().arch


def runs(code: str, device: str) -> bool:
    """Whether machine code for an architecture runs on a device of another: of the same major version, and not older."""
    wanted, have = (int(arch.removeprefix("sm_")) for arch in (code, device))
    return wanted // 10 == have // 10 and wanted <= have


def require_device(arch: str) -> None:
    """Check that this machine has a GPU that runs code for an architecture. Raises TargetError."""
    have = gpu()
    if not runs(arch, have.arch):
        raise TargetError(f"this was compiled for cuda:{arch}, and {have.name} is cuda:{have.arch}: machine code runs on GPUs of "
                          f"the same major version that are not older; compile it for cuda:{have.arch}")


@functools.cache
def load_runtime() -> None:
    """Load TVM's CUDA runtime into this process; without a driver, with a stand-in for it, so that code can be made and kept.

    Raises CompileError that says what to install.
    """
    from targets.cuda.tvm_api import load_cuda_runtime

    if load_cuda_runtime():
        return
    if find_library(CUDART) is None:
        raise CompileError(f"compiling for CUDA needs its runtime ({CUDART}), which was not found: {INSTALL}, or install the "
                           "CUDA toolkit 13 and add the folder of its libraries to LD_LIBRARY_PATH")
    if find_library(DRIVER) is None:
        _load_stub()
    if not load_cuda_runtime():
        raise CompileError("TVM's CUDA runtime (libtvm_runtime_cuda.so) cannot be loaded: this TVM was built without it")


def _load_stub() -> None:
    """Load a library in place of the driver's, whose functions all fail."""
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("compiling for CUDA on a machine without an NVIDIA driver needs a C compiler; install one (Debian: "
                           "apt install g++), or name yours in the environment variable CXX")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "stub.c", Path(folder) / DRIVER
        source.write_text(STUB)
        command = [compiler, "-x", "c", str(source), "-shared", "-fPIC", f"-Wl,-soname,{DRIVER}", "-o", str(library)]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            raise CompileError(f"{compiler} could not compile a stand-in for the NVIDIA driver: {made.stderr.strip()[-300:]}")
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _cudart() -> ctypes.CDLL:
    found = find_library(CUDART)
    if found is None:
        raise TargetError(f"the CUDA runtime ({CUDART}) was not found: {INSTALL}")
    return found


def _attribute(number: int) -> int:
    value = ctypes.c_int()
    _cudart().cudaDeviceGetAttribute(ctypes.byref(value), number, 0)
    return value.value
