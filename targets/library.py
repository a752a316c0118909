"""Libraries of machine code: to a file, which needs a C compiler to link it, and back."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tgraph.ir.errors import CompileError

COMPILERS = ("g++", "clang++", "c++")


def export_library(library: Any, path: Path) -> None:
    """Link a virtual machine's executable into a shared library. Raises CompileError if there is no C compiler."""
    compiler = os.environ.get("CXX") or next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None or shutil.which(compiler) is None:
        raise CompileError("saving a compiled graph links a shared library, which needs a C compiler; install one (Debian: "
                           "apt install g++; macOS: xcode-select --install), or name yours in the environment variable CXX")
    try:
        library.export_library(str(path), cc=compiler)
    except RuntimeError as error:
        raise CompileError(f"{compiler} could not link the library: {str(error).strip().splitlines()[-1]}") from error


def load_library(content: np.ndarray) -> Any:
    """The library with these bytes. The file that the system loads it from is gone as soon as it is mapped."""
    from targets.tvm_api import tvm

    descriptor, name = tempfile.mkstemp(suffix=".so")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.data)
        return tvm.runtime.load_module(name)
    finally:
        os.unlink(name)
