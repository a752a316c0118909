"""The levels of a module for a GPU: CUDA source, PTX, machine code; and what its kernels take."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from targets.cuda.build import dynamic_shared
from targets.cuda.compilers import compile_source, ptx, sass
from targets.cuda.resources import ResourceTable, read_resources
from targets.lowering.lower import Lowered
from targets.runtime.library import Library
from tgraph.ir.errors import TargetError

LEVELS = ("cuda", "ptx", "sass")
GPU_MACHINE = 190  # EM_CUDA, the machine that an ELF file for a GPU names


def text(lowered: Lowered, what: str) -> str:
    """The source of a module at one of LEVELS. Raises CompileError, and TargetError if nvdisasm is missing."""
    source, arch = cuda_source(lowered), lowered.target.arch
    if what == "cuda":
        return source
    return ptx(source, arch) if what == "ptx" else sass(compile_source(source, arch).cubin)


def resources(lowered: Lowered) -> ResourceTable:
    """A table of what each kernel takes of the GPU."""
    source, arch = cuda_source(lowered), lowered.target.arch
    log = compile_source(source, arch).log
    return read_resources(log, source, dynamic_shared(lowered.kernels.values(), lowered.target), arch)


def cuda_source(lowered: Lowered) -> str:
    """The CUDA source that TVM made of all kernels."""
    pending: list[Any] = [lowered.executable.mod]
    while pending:
        module = pending.pop()
        if module.kind == "cuda" and (source := str(module.inspect_source("cuda"))):  # else it was not made from source
            return source
        pending += list(module.imports)
    return ""


def library_sass(library: Library) -> str:
    """The machine code of a linked library as text. Raises TargetError."""
    if library.image is None:
        raise TargetError("the library is not linked")
    return "\n".join(sass(cubin) for cubin in _cubins(library.image))


def _cubins(image: np.ndarray) -> Iterator[bytes]:
    """The ELF files for a GPU in the bytes of a library."""
    content = image.tobytes()
    at = content.find(b"\x7fELF", 4)
    while at >= 0:
        if struct.unpack_from("<H", content, at + 18)[0] == GPU_MACHINE:
            yield content[at:at + _elf_size(content, at)]
        at = content.find(b"\x7fELF", at + 4)


def _elf_size(content: bytes, at: int) -> int:
    """Where the last of an ELF file's tables ends."""
    programs, sections = struct.unpack_from("<QQ", content, at + 32)
    program_size, program_count, section_size, section_count = struct.unpack_from("<HHHH", content, at + 54)
    return int(max(programs + program_size * program_count, sections + section_size * section_count))
