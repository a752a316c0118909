"""A bundle on many machines: read where its file is, and brought once to a machine where it is not."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tgraph.formats.disk import replacing
from tgraph.ir.errors import FormatError

SEAL = 64  # characters of the digest at the end of a bundle


@dataclass(frozen=True)
class Bundle:
    """A bundle's path, its digest, and, on a cluster, its bytes in Ray's object store (a list of one reference)."""

    path: str
    digest: str
    stored: tuple[Any, ...] = ()

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Bundle:
        """A bundle on this machine. Raises OSError, FormatError."""
        digest = digest_of(Path(path))
        if digest is None:
            raise FormatError(f"{path} is no bundle of tgraph, or is cut off: it does not end with the seal of one")
        return cls(str(Path(path).absolute()), digest)

    def here(self) -> Path:
        """The file on this machine, one for all processes, which map it. Raises FormatError if it is neither there nor stored."""
        path = Path(self.path)
        if path.exists() and digest_of(path) == self.digest:
            return path
        if not self.stored:
            raise FormatError(f"{path} is not there, or not what it was when the run began")
        copy = private_folder() / f"{self.digest}.tgc"
        if not copy.exists() or digest_of(copy) != self.digest:
            import ray

            content: np.ndarray = ray.get(self.stored[0])
            with replacing(copy, content.nbytes) as file:
                file.write(content.data)
        return copy


def digest_of(path: Path) -> str | None:
    """The digest with which a bundle ends, which vouches for all of it; None if the file does not end like one."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - SEAL, 0))
        text = file.read().decode("latin-1")
    return text if len(text) == SEAL and set(text) <= set("0123456789abcdef") else None


def private_folder() -> Path:
    """A folder for code that other users of the machine cannot write to. Raises PermissionError if theirs is in its place."""
    folder = Path(tempfile.gettempdir()) / f"tgraph-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder} is open to other users, and bundles hold machine code; remove it, or set TMPDIR")
    return folder
