"""From TVM's module to the bytes of a shared library.

LLVM never writes to a disk here: where it finds no room, it ends the process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tgraph.formats.disk import FULL, file_size_limit, writing
from tgraph.ir.errors import CompileError

COMPILERS = ("g++", "clang++", "c++")
LARGEST = 1 << 30  # bytes that no object file of ours comes near: weights are not in it


def find_compiler() -> str | None:
    """The C++ compiler that links libraries; None if there is none."""
    compiler = os.environ.get("CXX") or next((name for name in COMPILERS if shutil.which(name)), "")
    return shutil.which(compiler) if compiler else None


def link(module: Any) -> np.ndarray:
    """The bytes of a shared library with a module's code. Raises CompileError without a C compiler, and DiskError."""
    from targets.tvm_api import machine_code_modules

    compiler = find_compiler()
    if compiler is None:
        raise CompileError("saving a compiled graph links a shared library, which needs a C compiler; install one (Debian: "
                           "apt install g++; macOS: xcode-select --install), or name yours in the environment variable CXX")
    objects = [_object(part) for part in machine_code_modules(module)]
    needed = 2 * sum(len(content) for _, content in objects)  # and the library
    with writing("the library of a compiled graph", tempfile.gettempdir(), needed), \
            tempfile.TemporaryDirectory(prefix="tgraph-") as folder:
        files = []
        for number, (suffix, content) in enumerate(objects):
            files.append(Path(folder) / f"{number}{suffix}")
            files[-1].write_bytes(content)
        return _run(compiler, files, Path(folder))


def _object(module: Any) -> tuple[str, bytes]:
    """A module's machine code as a file that compilers link: its suffix and content."""
    limit = file_size_limit()
    if sys.platform == "linux" and (limit is None or limit > LARGEST):
        descriptor = os.memfd_create("tgraph")
        try:
            path = f"/proc/self/fd/{descriptor}"
            if Path(path).exists():
                module.write_to_file(path, "o")
                with open(descriptor, "rb", closefd=False) as file:
                    return ".o", file.read()
        finally:
            os.close(descriptor)
    return ".s", str(module.inspect_source("asm")).encode()


def _run(compiler: str, files: list[Path], folder: Path) -> np.ndarray:
    """Link. All that the compiler writes is in the folder."""
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
