"""Threads that can be waited for whatever memory there is."""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")

PATIENCE = 10.0  # seconds until a thread that has not begun never will


class Thread(Generic[Result]):
    """A function in a thread of its own. The end of the interpreter does not wait for it.

    `threading.Thread.start` waits without end for a thread that found no memory for its first step (issue 140746 of CPython).
    This one gives up, and what begins too late then does nothing.
    """

    def __init__(self, function: Callable[[], Result]):
        self.ident: int | None = None  # once it has begun
        self._function, self._result, self._error = function, None, None
        self._claim, self._begun, self._over = (_thread.allocate_lock() for _ in range(3))
        self._begun.acquire()
        self._over.acquire()

    def start(self) -> None:
        """Begin. Raises MemoryError if the system gives no thread, or no memory for one."""
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError as error:
            raise MemoryError(str(error)) from None
        if not self._begun.acquire(timeout=PATIENCE) and self._claim.acquire(blocking=False):
            raise MemoryError("a new thread did not begin")

    def result(self, timeout: float = -1) -> Result:
        """Wait for the end, and return what the function did. Raises what it raised, and TimeoutError after so many seconds."""
        if not self._over.acquire(timeout=timeout):
            raise TimeoutError
        self._over.release()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        self.ident = _thread.get_ident()
        self._begun.release()
        try:
            self._result = self._function()  # type: ignore[assignment]
        except BaseException as error:
            self._error = error  # type: ignore[assignment]
        del self._function  # what it keeps
        self._over.release()
