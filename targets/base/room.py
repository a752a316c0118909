"""Running out of memory: an error that says for what, found beforehand where it would end the process."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from tgraph.ir.errors import OutOfMemoryError, TGraphError

# What errors of libraries say that mean it: C++ as TVM passes it on, threads whose stacks find no room, the loader
SIGNS = ("std::bad_alloc", "can't start new thread", "Resource temporarily unavailable", "Cannot allocate memory",
         "failed to map segment")


@contextlib.contextmanager
def enough_memory(what: str, needed: int = 0) -> Iterator[None]:
    """Context in which running out of memory is OutOfMemoryError that says for what.

    needed: the bytes that must be free under a limit (ulimit -v), where something that runs out of them ends the process.
    """
    require(what, needed)
    try:
        yield
    except Exception as error:
        found = out_of_memory(what, error)
        if found is None:
            raise
        raise found from None


def require(what: str, needed: int) -> None:
    """Raises OutOfMemoryError if there is a limit of addresses (ulimit -v) under which so many bytes are not left."""
    left = free_addresses() if needed else None
    if left is not None and left < needed:
        raise OutOfMemoryError(f"{what} may take {needed >> 20:,} MiB of memory, and {max(left, 0) >> 20:,} MiB are left of what "
                               "this process may have (ulimit -v)")


def out_of_memory(what: str, error: Exception) -> OutOfMemoryError | None:
    """The error to raise in place of one that means that memory ran out; None for another."""
    if isinstance(error, OutOfMemoryError):
        return None
    full = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not full and (isinstance(error, TGraphError) or not any(sign in str(error) for sign in SIGNS)):
        return None
    left = free_addresses()
    limit = "" if left is None else f"; {max(left, 0) >> 20:,} MiB are left of what this process may have (ulimit -v)"
    said = str(error).strip().splitlines()
    return OutOfMemoryError(f"memory ran out: {what}" + (f" ({said[-1]})" if said else "") + limit)


def free_addresses() -> int | None:
    """How many bytes this process may still map; None without a limit."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        with open("/proc/self/statm") as file:
            return limit - int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):  # not on this system
        return None


def stack_size() -> int:
    """The bytes of a thread's stack."""
    import resource

    size = resource.getrlimit(resource.RLIMIT_STACK)[0]
    return 8 << 20 if size == resource.RLIM_INFINITY else size
