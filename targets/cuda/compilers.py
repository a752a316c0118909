"""CUDA source to machine code for one architecture, by NVRTC or nvcc, whichever is found; also PTX, and machine code as text.

Both come from pip packages or from a CUDA toolkit, and need no GPU. No option trades accuracy for speed.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from targets.base.cores import default_threads
from targets.cuda.libraries import INSTALL, NVRTC, find_library, find_tool, include_folder
from targets.cuda.nvrtc import Nvrtc, Rejected
from tgraph.ir.errors import CompileError, TargetError

CHOICE = "TGRAPH_CUDA_COMPILER"  # environment variable: "nvrtc" or "nvcc", where both are there
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(\d+(?:, \d+)?\) )?(\w+)\(')


@dataclass(frozen=True)
class MachineCode:
    """A module for one architecture: an ELF file for the GPU, and the words of the assembler about each kernel."""

    cubin: bytes
    log: str
    compiler: str


class Compiler(Protocol):
    """What compiles CUDA source: to machine code with the assembler's log, and to PTX. Both raise Rejected."""

    name: str

    def cubin(self, source: str, arch: str) -> tuple[bytes, str]: ...

    def ptx(self, source: str, arch: str) -> str: ...


class Nvcc:
    """NVIDIA's compiler driver, a program."""

    def __init__(self, program: str):
        self.name = f"nvcc ({program})"
        self.program = program

    def cubin(self, source: str, arch: str) -> tuple[bytes, str]:
        return self._run(source, arch, "-cubin", "-Xptxas", "-v", f"--split-compile={default_threads()}")

    def ptx(self, source: str, arch: str) -> str:
        return self._run(source, arch, "-ptx")[0].decode()

    def _run(self, source: str, arch: str, *options: str) -> tuple[bytes, str]:
        with tempfile.TemporaryDirectory() as folder:
            file, made = Path(folder) / "kernels.cu", Path(folder) / "made"
            file.write_text(source)
            command = [self.program, "-O3", "-w", "-std=c++17", f"-arch={arch}", *options, "-o", str(made), str(file)]
            done = subprocess.run(command, capture_output=True, text=True)
            log = (done.stdout + done.stderr).replace(str(file), file.name)
            if done.returncode:
                raise Rejected(log)
            return made.read_bytes(), log


@functools.cache
def _nvrtc() -> Nvrtc | None:
    find_library("libnvrtc-builtins.so.13.0")  # the library itself looks for it by name only
    library, include = find_library(NVRTC), include_folder()
    return Nvrtc(library, include) if library is not None and include is not None else None


@functools.cache
def _nvcc() -> Nvcc | None:
    program = find_tool("nvcc")
    return Nvcc(program) if program is not None else None


# Ways to find a compiler, by name; the first that finds one is taken.
COMPILERS: dict[str, Callable[[], Compiler | None]] = {"nvrtc": _nvrtc, "nvcc": _nvcc}


def compiler() -> Compiler:
    """The compiler that is used. Raises CompileError that says what to install."""
    choice = os.environ.get(CHOICE, "")
    if choice and choice not in COMPILERS:
        raise CompileError(f"{CHOICE} is {choice!r}; it may be {' or '.join(COMPILERS)}")
    found = next(filter(None, (find() for name, find in COMPILERS.items() if choice in ("", name))), None)
    if found is None:
        raise CompileError(f"compiling for CUDA needs {choice or 'NVRTC or nvcc'}, which was not found: {INSTALL}, or put the "
                           "nvcc of a CUDA toolkit 13 on PATH")
    return found


@functools.lru_cache(maxsize=16)
def compile_source(source: str, arch: str) -> MachineCode:
    """The machine code of CUDA source. Raises CompileError: what is wrong and in which kernel, or what to install."""
    made = compiler()
    try:
        return MachineCode(*made.cubin(source, arch), made.name)
    except Rejected as error:
        raise _error(made.name, source, arch, str(error)) from None


@functools.lru_cache(maxsize=4)
def ptx(source: str, arch: str) -> str:
    """CUDA source as text of NVIDIA's virtual machine. Raises CompileError."""
    made = compiler()
    try:
        return made.ptx(source, arch)
    except Rejected as error:
        raise _error(made.name, source, arch, str(error)) from None


def sass(cubin: bytes) -> str:
    """Machine code as text. Raises TargetError if nvdisasm, which writes it, is not there."""
    program = find_tool("nvdisasm")
    if program is None:
        raise TargetError("showing machine code of a GPU needs nvdisasm: pip install nvidia-cuda-nvdisasm, or put that of a CUDA "
                          "toolkit on PATH")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([program, "--print-code", file.name], capture_output=True, text=True)
    if done.returncode:
        raise TargetError(f"{program} failed: {done.stderr.strip()}")
    return done.stdout


def _error(name: str, source: str, arch: str, log: str) -> CompileError:
    """What went wrong, with the kernel that the first error is about."""
    lines = [line for line in log.splitlines() if "error" in line.lower() or "fatal" in line.lower()] or log.splitlines()
    shown = "\n".join(lines[:8]) or "it said nothing"
    place = re.search(r"kernels\.cu\((\d+)\)", shown)
    before = source.splitlines()[:int(place.group(1))] if place else []
    kernels = [match.group(1) for line in before if (match := _KERNEL.search(line)) and not line.rstrip().endswith(";")]
    named = next((k for k in _KERNEL.findall(source) if re.search(rf"\b{k}\b", shown)), None)
    kernel = kernels[-1] if kernels else named
    return CompileError(f"{name} could not compile {f'kernel {kernel}' if kernel else 'the kernels'} for {arch}:\n{shown}")
