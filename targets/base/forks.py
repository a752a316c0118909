"""Processes that fork: multiprocessing's "fork", the workers of a web server, os.fork."""

from __future__ import annotations

import os
import threading

from tgraph.ir.errors import CompileError

ADVICE = "fork when nothing compiles, or start processes by spawn or forkserver"


class ForkedError(CompileError):
    """This process was forked at a moment after which it can build nothing."""


class BuildLock:
    """A lock around builds of machine code, which change settings of the whole process.

    In a child that was forked while another thread built, the compiler's own locks are held by nobody who could let go of them: a
    build there raises ForkedError.
    """

    def __init__(self) -> None:
        self._lock, self._lost = threading.Lock(), False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lost = self._lost or self._lock.locked()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if self._lost:
            raise ForkedError("this process was forked while another thread of its parent compiled, whose locks it holds for "
                              f"ever; {ADVICE}")
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
