"""Libraries of machine code: in memory as TVM compiled it, or a shared library, which needs a C compiler to link it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from targets.base.interrupts import hold_interrupts
from targets.base.linker import link
from tgraph.formats.disk import remove_stale, writing

PREFIX = "tgraph-library-"  # of the temporary files


class Library:
    """TVM's module in memory, or the bytes of a shared library, which is loaded when its module is first asked for.

    The code goes when the last one that holds the module does: a virtual machine, a function of it, this.
    """

    def __init__(self, module: Any = None, image: np.ndarray | None = None):
        self._module, self.image = module, image

    @property
    def module(self) -> Any:
        if self._module is None:
            assert self.image is not None
            self._module = _load(self.image)
        return self._module

    def load(self) -> None:
        """Load the library now, so that damage shows and the first call need not wait."""
        _ = self.module

    def link(self) -> np.ndarray:
        """Link a shared library, run it from now on, and return its bytes.

        TVM translates a module in memory at its first call; this one it translates now.
        Raises CompileError if there is no C compiler, and DiskError.
        """
        if self.image is None:
            with hold_interrupts():
                image = link(self.module)
                self._module, self.image = _load(image), image
        return self.image


def _load(image: np.ndarray) -> Any:
    """The module of a library with these bytes. The file that the system loads it from is gone as soon as it is mapped.

    Raises DiskError.
    """
    from targets.base.tvm_api import load_library

    with hold_interrupts(), writing("the library of a compiled graph", tempfile.gettempdir(), image.nbytes):
        remove_stale(Path(tempfile.gettempdir()), f"{PREFIX}????????.so")
        descriptor, name = tempfile.mkstemp(prefix=PREFIX, suffix=".so")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(image.data)
            return load_library(name)
        finally:
            os.unlink(name)
