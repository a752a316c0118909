"""Soak tests: what a process holds must not grow, call after call and compilation after compilation."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tgraph as tg
from tests.faults.processes import B, X, model, place

SLACK_BYTES = 4 << 20  # resident memory that may come and go: pieces of the allocator's, caches of numbers and strings
SLACK_MAPPINGS = 20


@dataclass(frozen=True)
class Held:
    """What a process holds at a moment."""

    resident: int  # bytes
    files: int
    threads: int
    mappings: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        process = Path("/proc/self")
        return cls(int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
                   len(list((process / "fd").iterdir())), len(list((process / "task").iterdir())),
                   len((process / "maps").read_text().splitlines()))

    def grown(self, since: Held) -> str:
        """What has grown, in words; nothing if it is within the slack."""
        return ", ".join(f"{name} from {before:,} to {after:,}" for name, before, after, slack in (
            ("resident bytes", since.resident, self.resident, SLACK_BYTES), ("files", since.files, self.files, 0),
            ("threads", since.threads, self.threads, 0), ("mappings", since.mappings, self.mappings, SLACK_MAPPINGS),
        ) if after > before + slack)


def repeat(times: int, work: Callable[[int], None], say: Callable[[str], None] = print) -> None:
    """Do something so many times, after a tenth of that as a warm-up. Raises AssertionError if the process has grown."""
    warm = max(times // 10, 3)
    for number in range(warm):
        work(number)
    begin = Held.now()
    for number in range(times):
        work(number)
        if (number + 1) % max(times // 10, 1) == 0:
            say(f"{number + 1:,} of {times:,}: {Held.now()}")
    grown = Held.now().grown(begin)
    assert not grown, f"after {times:,} more than the first {warm:,}: {grown}"


def calls(times: int, threads: int, say: Callable[[str], None] = print) -> None:
    """Calls of three executables at changing sizes, from one thread or from several at once."""
    exes = [tg.compile(model(hidden), cache=False) for hidden in (16, 24)]
    lookup = tg.compile(tg.trace(lambda i, t: tg.embedding(i, t), tg.i64[B], tg.f32[9, 4]), cache=False)
    table, inputs = np.ones((9, 4), "f"), [np.ascontiguousarray(np.resize(X, (rows, 8))) for rows in range(1, 9)]
    expected = [[exe(x) for x in inputs] for exe in exes]

    def call(number: int) -> None:
        which, rows = number % 2, number % 8
        assert np.array_equal(exes[which](inputs[rows]), expected[which][rows])
        if number % 1000 == 0:  # errors are part of life
            try:
                lookup(np.array([99]), table)
            except tg.InputError:
                return
            raise AssertionError("an index outside of the table was not found")

    if threads == 1:
        return repeat(times, call, say)
    each = times // (10 * threads)

    def round_of_threads(_: int) -> None:
        wrong: list[BaseException] = []

        def work(first: int) -> None:
            try:
                for number in range(first, first + each):
                    call(number)
            except BaseException as error:
                wrong.append(error)

        running = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert not wrong, wrong

    return repeat(10, round_of_threads, say)


def cycles(times: int, say: Callable[[str], None] = print) -> None:
    """Compile (in turns with the cache and without), save, load, call and drop."""
    with place() as where:
        where.enter()
        path, graph = where.root / "x.tgc", model()
        expected = tg.compile(graph)(X)

        def cycle(number: int) -> None:
            made = tg.compile(model() if number % 3 else graph, cache=bool(number % 2))
            made.save(path)
            loaded = tg.load(path)
            assert np.array_equal(made(X), expected) and np.array_equal(loaded(X), expected)

        repeat(times, cycle, say)
