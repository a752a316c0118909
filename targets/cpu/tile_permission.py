"""The system's permission to use tiles (AMX): Linux gives a process their 8 KiB of registers only when it has asked."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import sys

ARCH_PRCTL = 158  # the number of the system call on x86-64
ARCH_REQ_XCOMP_PERM = 0x1023
XTILEDATA = 18  # the state component that the tiles are


@functools.cache
def refusal() -> str:
    """Asks the system for tiles, for all threads of this process; why it refuses, empty if it agrees.

    It agrees or refuses once for a process, so that it is asked once. What a process may do its children by fork may as well.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return "only x86-64 has tiles"
    if not sys.platform.startswith("linux"):
        return f"tgraph knows how to ask Linux for tiles, not {sys.platform}"
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    system_call.restype = ctypes.c_long
    code = ctypes.c_long
    if system_call(code(ARCH_PRCTL), code(ARCH_REQ_XCOMP_PERM), code(XTILEDATA)) == 0:
        return ""
    number = ctypes.get_errno()
    if number == errno.ENOSPC:
        return "a thread's alternate stack for signals is too small for them (sigaltstack)"
    return f"Linux does not give this process tiles: {os.strerror(number)}"
