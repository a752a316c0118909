"""The thread of a process whose worker pool and arena all calls use.

TVM gives every calling thread a pool of its own, so that eight callers would start eight pools.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from targets.base.cores import default_threads
from targets.base.ending import ending
from targets.base.threads import Thread
from targets.runtime.arena import Arena
from tgraph.ir.errors import TargetError


class _Call:
    """A function to run on the runner's thread, and its result. Whoever gets `claim` runs it, or drops it."""

    __slots__ = ("claim", "decides", "done", "error", "function", "over", "result")

    def __init__(self, function: Callable[[], Any], decides: bool):
        self.function, self.decides = function, decides
        self.result: Any = None
        self.error: BaseException | None = None
        self.over = False  # whether `function` has returned
        self.claim, self.done = threading.Lock(), threading.Lock()
        self.done.acquire()


class Runner:
    """Runs functions one after the other, with one pool of workers for all.

    An interrupt (KeyboardInterrupt) does not stop kernels in the middle. It comes out between stages or when the call is over,
    or at once if the call was still waiting for others; in any case, when it is out, nothing of the call runs.

    While only the main thread calls, they run on it: handing a call to another thread and back takes 0.05 ms and more.
    From the first call of another thread on all run on a thread of their own. When the interpreter ends, that thread ends first:
    no kernel may run while TVM is taken down.
    """

    def __init__(self, threads: int, pool: int | None = None) -> None:
        self.threads = threads
        self.pool = pool  # the thread besides the runner's that has a pool of workers
        self._thread: Thread[None] | None = None
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()  # None: no more
        self._closed = False
        self._turn = threading.RLock()  # held by the one that runs
        self._configured: int | None = None  # the thread whose pool has so many workers
        self._active = 0  # how many of them take part
        self.arena = Arena()

    def __call__(self, function: Callable[[], Any], decides: bool = False) -> Any:
        """Run `function` and wait for its result; what it raises is raised here. It has all threads, or itself `decides`."""
        if self._thread is None:
            with self._turn:
                if self._thread is None and self._on_main():
                    return self._run(function, decides)
                self._start()
        if self._thread is not None and self._thread.ident == threading.get_ident():
            return self._run(function, decides)
        call = _Call(function, decides)
        try:
            self._calls.put(call)
            call.done.acquire()
        except BaseException:  # the main thread was interrupted, perhaps when it had `done` already
            if not call.claim.acquire(blocking=False) and not call.over:  # what runs uses the caller's arrays
                call.done.acquire()
            raise
        if call.error is not None:
            raise call.error
        return call.result

    def _on_main(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    def alone(self, function: Callable[[], Any]) -> None:
        """Run `function` on this thread while no call runs."""
        with self._turn:
            function()

    def close(self) -> None:
        """End the runner's thread after the calls that it was given. From now on only the main thread may call."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            thread.result()

    def _start(self) -> None:
        if self._closed:
            raise ending()
        if self._thread is None:
            thread = Thread(self._work)
            thread.start()
            self._thread = thread  # from now on others wait for it

    def _run(self, function: Callable[[], Any], decides: bool) -> Any:
        thread = threading.get_ident()
        if self._configured != thread:
            if self._thread is None:
                self.pool = thread
            self._configure(self.threads)
            self._configured = thread
        if not decides:
            self.share_work(True)
        return function()

    def before_fork(self) -> None:
        """Make the pool of this thread, if it has one, ready for a fork."""
        if self.pool == threading.get_ident():
            from targets.base.thread_pool import wake

            wake(thread_limit())
            self._configured = None

    def in_child(self) -> Runner:
        """The runner of a forked child in place of this one, whose thread is not there."""
        own = self.pool == threading.get_ident()
        if own:
            from targets.base.thread_pool import renew

            renew()
        return Runner(self.threads, self.pool if own else None)

    def set_threads(self, count: int) -> None:
        """Use so many threads from the next call on."""
        self(lambda: self._configure(count))

    def share_work(self, wanted: bool) -> None:
        """Let the kernels of a call that runs use all threads, or its own alone."""
        count = self.threads if wanted else 1
        if count != self._active:
            from targets.base.thread_pool import use_threads

            use_threads(count)
            self._active = count

    def _configure(self, count: int) -> None:
        from targets.base.thread_pool import use_threads  # TVM, which is told how large pools are, comes before the pool

        self.threads = self._active = count
        use_threads(count)

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                break
            if not call.claim.acquire(blocking=False):
                continue
            try:
                with self._turn:
                    call.result = self._run(call.function, call.decides)
            except BaseException as error:
                call.error = error
            call.function = None  # type: ignore[assignment]
            call.over = True
            call.done.release()
            del call  # while waiting for the next one, nothing keeps the result
        while not self._calls.empty():
            late = self._calls.get()
            if late is not None:
                late.error = ending()
                late.done.release()


def thread_limit() -> int:
    """The largest number of threads that a pool of workers can have."""
    given = os.environ.get("TVM_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else default_threads()


_runner: Runner | None = None
_lock = threading.Lock()


def runner() -> Runner:
    """The process's runner, started on first use."""
    global _runner
    if _runner is None:
        with _lock:
            if _runner is None:
                _runner = Runner(thread_limit())
    return _runner


def _before_fork() -> None:
    if _runner is not None:
        _runner.before_fork()


def _after_fork() -> None:
    """Leave the parent's runner, and the lock, which another thread may have held."""
    global _runner, _lock
    _lock = threading.Lock()
    if _runner is not None:
        _runner = _runner.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


@atexit.register
def _close() -> None:
    if _runner is not None:
        _runner.close()


def set_num_threads(count: int) -> None:
    """Use so many threads for all compiled graphs of this process, at most one a core. Default: all cores that it may use.

    Raises TargetError for another number. The environment variable TVM_NUM_THREADS sets another limit than the cores.
    """
    limit = thread_limit()
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= limit:
        raise TargetError(f"the number of threads is an integer from 1 to {limit}, the cores that this process may use; "
                          f"got {count!r}")
    runner().set_threads(count)
