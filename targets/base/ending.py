"""The end of the interpreter, which waits for work of other threads that cannot be left in the middle.

TVM calls functions of Python's. In a daemon thread Python ends such a function, and with it the process, when it has gone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator

from tgraph.ir.errors import TargetError

_change = threading.Condition()
_working, _ending = 0, False


def ending() -> TargetError:
    """The error of what begins too late."""
    return TargetError("the interpreter is ending, and takes no more calls from other threads than the main one")


@contextlib.contextmanager
def before_the_end() -> Iterator[None]:
    """Context that the end of the interpreter waits for. Raises TargetError where that has begun, but in the main thread."""
    global _working
    if threading.current_thread() is threading.main_thread():
        yield
        return
    with _change:
        if _ending:
            raise ending()
        _working += 1
    try:
        yield
    finally:
        with _change:
            _working -= 1
            _change.notify_all()


@atexit.register
def _wait() -> None:
    global _ending
    with _change:
        _ending = True
        while _working:
            _change.wait()


def _after_fork() -> None:
    """Those who work are not in the child."""
    global _change, _working
    _change, _working = threading.Condition(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
