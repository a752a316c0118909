"""Linking of TVM's modules into shared libraries.

LLVM ends the process where it finds no room on a disk, so it writes to memory, or where there surely is room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tgraph.formats.disk import FULL, file_size_limit, remove_stale, writing
from tgraph.ir.errors import CompileError

COMPILERS = ("g++", "clang++", "c++")
PREFIX = "tgraph-link-"  # of the temporary folders


def find_compiler() -> str | None:
    """The C++ compiler that links libraries; None if there is none."""
    compiler = os.environ.get("CXX") or next((name for name in COMPILERS if shutil.which(name)), "")
    return shutil.which(compiler) if compiler else None


def link(module: Any) -> np.ndarray:
    """The bytes of a shared library with a module's code. Raises CompileError without a C compiler, and DiskError."""
    from targets.base.tvm_api import machine_code_modules

    compiler = find_compiler()
    if compiler is None:
        raise CompileError("saving a compiled graph links a shared library, which needs a C compiler; install one (Debian: "
                           "apt install g++; macOS: xcode-select --install), or name yours in the environment variable CXX")
    parts = machine_code_modules(module)
    remove_stale(Path(tempfile.gettempdir()), f"{PREFIX}????????")
    with _writing(), tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        files = [Path(folder) / f"{number}.o" for number in range(len(parts))]
        for part, file in zip(parts, files):
            _write_object(part, file)
        with _writing(sum(file.stat().st_size for file in files)):  # a library is about as large as what it is made of
            return _run(compiler, files, Path(folder))


def _writing(needed: int | None = None) -> contextlib.AbstractContextManager[None]:
    return writing("the library of a compiled graph", tempfile.gettempdir(), needed)


def _write_object(module: Any, file: Path) -> None:
    """Write a module's object file. Raises OSError where there is no room for it, before LLVM meets that."""
    limit, in_memory = file_size_limit(), sys.platform == "linux" and Path("/proc/self/fd").exists()
    if limit is not None and _bound(module) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if not in_memory:
        if _bound(module) > shutil.disk_usage(file.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        module.write_to_file(str(file), "o")
        return
    descriptor = os.memfd_create("tgraph")
    try:
        module.write_to_file(f"/proc/self/fd/{descriptor}", "o")
        with open(descriptor, "rb", closefd=False) as memory:
            content = memory.read()
        with _writing(len(content)):
            file.write_bytes(content)
    finally:
        os.close(descriptor)


def _bound(module: Any) -> int:
    """An upper bound of the bytes of a module's object file: four times its assembly text, and the runs of zeros in it."""
    text = str(module.inspect_source("asm"))
    return 4 * len(text) + sum(map(int, re.findall(r"\.zero\s+(\d+)", text))) + (1 << 20)


def _run(compiler: str, files: list[Path], folder: Path) -> np.ndarray:
    """Link object files; all that the compiler writes is in the folder."""
    library = folder / "library.so"
    command = [compiler, "-shared", "-fPIC", *(["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []),
               "-o", str(library), *map(str, files)]
    # restore_signals: a compiler that meets the limit of ulimit -f is to say so and not to die of its signal
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"}, capture_output=True, text=True,
                          errors="replace", restore_signals=False, check=False)
    if done.returncode:
        for number in FULL:
            if os.strerror(number) in done.stderr:
                raise OSError(number, os.strerror(number))
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("collect2")]
        raise CompileError(f"{compiler} could not link the library: {said[-1] if said else f'it ended with {done.returncode}'}")
    return np.fromfile(library, np.uint8)
