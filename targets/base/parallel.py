"""Work of Python's own on all cores, for functions that let go of Python's lock: hashing, copying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from targets.base.cores import default_threads
from targets.base.interrupts import hold_interrupts
from targets.base.threads import Thread

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_parallel(function: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    """The results of a function of each job, in order. Raises what one of them raises. Signals wait until all are done.

    (A ThreadPoolExecutor takes no more work once the main thread has ended, though others go on. Where the system gives no more
    threads, fewer do it.)
    """
    results: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []
    left = iter(range(len(jobs)))  # one that is shared: Python's lock gives each number to one thread

    def work() -> None:
        try:
            for number in left:
                results[number] = function(jobs[number])
        except BaseException as error:
            errors.append(error)

    with hold_interrupts():
        started = []
        for _ in range(min(default_threads(), len(jobs)) - 1):
            thread = Thread(work)
            try:
                thread.start()
            except MemoryError:
                break
            started.append(thread)
        work()
        for thread in started:
            thread.result()
    if errors:
        raise errors[0]
    return results
