"""Writing a file completely or not at all, with a clear error for a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..ir.errors import DiskError

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextlib.contextmanager
def writing(what: str, folder: str | os.PathLike[str], needed: int | None = None) -> Iterator[None]:
    """Context for writing a file into a folder: an OSError because of a full disk, quota or limit becomes a DiskError.

    `needed`: how many bytes are to be written, if that is known.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or isinstance(error, DiskError):
            raise
        full = DiskError(f"{what} cannot be written: {_why(error, folder, needed)}", os.fspath(folder), needed)
        full.errno = error.errno
        raise full from error


@contextlib.contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[IO[bytes]]:
    """Context for a temporary file that replaces `path` at the end; on an error `path` stays as it was.

    `needed`: how many bytes it will have, if that is known. Raises DiskError if there is no room for them.
    """
    with writing(str(path), path.parent, needed), _beside(path) as temporary:
        with open(temporary, "w+b") as file:
            yield file
        with contextlib.suppress(OSError):  # a file system without permissions keeps those of mkstemp
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
        temporary.replace(path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Context for an empty temporary file in the folder of `path`, deleted if the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.close(descriptor)
        yield Path(name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _why(error: OSError, folder: str | os.PathLike[str], needed: int | None) -> str:
    need = "" if needed is None else f"it needs {needed:,} bytes, and "
    if error.errno == errno.EFBIG:
        return f"{error.strerror} ({need}this process may write {_limit()} to a file: ulimit -f)"
    try:
        free = f"{shutil.disk_usage(folder).free:,} bytes are free in {os.fspath(folder)}"
    except OSError:
        return str(error.strerror)
    return f"{error.strerror} ({need}{free})"


def _limit() -> str:
    limit = file_size_limit()
    return "not so many bytes" if limit is None else f"{limit:,} bytes"


def file_size_limit() -> int | None:
    """How many bytes this process may write to a file (ulimit -f); None if there is no such limit."""
    try:
        import resource
    except ImportError:  # not on this system
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
