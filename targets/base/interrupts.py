"""Ctrl-C while TVM works.

Python runs a signal's handler wherever it happens to run Python, which may be a function that TVM calls. What the handler
raises there goes through TVM, which makes another error of it, and may leave TVM's builders as they were in the middle. So
signals that come while TVM works wait for a place where nothing is half done. Python's own pools of threads need the same:
an interrupt in one of their locks is another error, too.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

HELD = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]


class _Held:
    """A signal handler that keeps signals until `deliver` calls the program's own handlers."""

    def __init__(self, handlers: dict[int, Callable[[int, FrameType | None], Any]], at_once: Callable[[], object]):
        self.handlers, self.at_once = handlers, at_once
        self.pending: list[tuple[int, FrameType | None]] = []

    def __call__(self, number: int, builder: FrameType | None) -> None:
        self.pending.append((number, builder))
        self.at_once()

    def deliver(self) -> None:
        """Call the handlers of the signals that came; each may raise."""
        while self.pending:
            number, builder = self.pending.pop(0)
            self.handlers[number](number, builder)


@contextlib.contextmanager
def hold_interrupts(at_once: Callable[[], object] = lambda: None) -> Iterator[Callable[[], None]]:
    """A context in which signals wait for its end, or for a call of the function that it gives, made where nothing is half done.

    at_once: called when a signal comes, to make that end come soon.
    Only handlers written in Python wait: KeyboardInterrupt comes from one. Without effect on other threads than the main one,
    where no handler ever runs, and within another such context, whose end they wait for.
    """
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: handler for number in HELD if callable(handler := signal.getsignal(number))
                    and not isinstance(handler, (_Held, signal.Handlers))}
    held = _Held(handlers, at_once)
    for number in handlers:
        signal.signal(number, held)
    try:
        yield held.deliver
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        held.deliver()
