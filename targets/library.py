"""Libraries of machine code: in memory as TVM compiled it, or a shared library, which needs a C compiler to link it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tgraph.ir.errors import CompileError

COMPILERS = ("g++", "clang++", "c++")


@dataclass(frozen=True)
class Library:
    """TVM's module in memory, or the bytes of a shared library, which is loaded when its module is first asked for.

    The code goes when the last one that holds the module does: a virtual machine, a function of it, this.
    """

    loaded: Any = None
    image: np.ndarray | None = None

    @cached_property
    def module(self) -> Any:
        return _load(self.image) if self.image is not None else self.loaded

    def load(self) -> Library:
        """The same, loaded now: damage shows, and the first call does not wait for it."""
        self.module
        return self

    def linked(self) -> Library:
        """The same as a shared library. TVM translates a library in memory at its first call, and this one now.

        Raises CompileError if there is no C compiler.
        """
        if self.image is not None:
            return self
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "library.so"
            _link(self.module, path)
            return Library(image=np.fromfile(path, np.uint8)).load()


def find_compiler() -> str | None:
    """The C++ compiler that links libraries; None if there is none."""
    compiler = os.environ.get("CXX") or next((name for name in COMPILERS if shutil.which(name)), "")
    return shutil.which(compiler) if compiler else None


def _load(image: np.ndarray) -> Any:
    """The module of a library with these bytes. The file that the system loads it from is gone as soon as it is mapped."""
    from targets.tvm_api import load_library

    descriptor, name = tempfile.mkstemp(suffix=".so")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(image.data)
        return load_library(name)
    finally:
        os.unlink(name)


def _link(module: Any, path: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("saving a compiled graph links a shared library, which needs a C compiler; install one (Debian: "
                           "apt install g++; macOS: xcode-select --install), or name yours in the environment variable CXX")
    try:
        module.export_library(str(path), cc=compiler)
    except RuntimeError as error:
        raise CompileError(f"{compiler} could not link the library: {str(error).strip().splitlines()[-1]}") from error
