"""Writing a file completely or not at all, with a clear error for a full disk."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..ir.errors import DiskError

STALE = 3600.0  # seconds without a change after which a temporary file is one that a killed process left
PARTIAL = ".????????.partial"  # how the names of temporary files end, as a pattern
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

    A process that is killed leaves the temporary file; the next one that writes `path` removes it when it is an hour old.
    `needed`: how many bytes it will have, if that is known. Raises DiskError if there is no room for them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(path.parent, f".{glob.escape(path.name)}{PARTIAL}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with writing(str(path), path.parent, needed):
            with open(temporary, "x+b") as file:
                yield file
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remove_stale(folder: Path, pattern: str) -> None:
    """Remove what killed processes left in a folder: files and folders with such names that nobody has changed for an hour."""
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):  # it is another user's, or another process was quicker
            if time.time() - left.lstat().st_mtime < STALE:
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()


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
