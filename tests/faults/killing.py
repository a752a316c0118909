"""kill -9 at random points of a compilation: what the next one finds."""

from __future__ import annotations

import random
import time
from collections import Counter

import numpy as np

import tgraph as tg
from tests.faults.processes import X, done, finish, kill, model, place, start


def kill_compilations(times: int, seed: int = 0) -> Counter[str]:
    """Kill compilations of one model, in every other case one that finds it in the cache, and compile it again each time.

    The next run must find no damage (a warning would be an error), give the same bits, and remove what the killed ones left when
    it is old. Returns how often what happened. Raises AssertionError.
    """
    choose, found = random.Random(seed), Counter[str]()
    with place() as where:
        expected = where.root / "expected.npy"

        def compile_and_keep() -> None:
            where.enter()
            np.save(expected, tg.compile(model(), cache=False)(X))

        def compile_and_compare() -> None:
            where.enter()
            assert np.array_equal(tg.compile(model())(X), np.load(expected))

        assert done(compile_and_keep) == 0
        seconds = {}
        for cached in (False, True):
            begun = time.perf_counter()
            assert done(compile_and_compare) == 0
            seconds[cached] = time.perf_counter() - begun
        for number in range(times):
            cached = bool(number % 2)
            if not cached:
                for entry in where.cache.glob("*.tgc"):
                    entry.unlink()
            process = start(compile_and_compare)
            time.sleep(choose.uniform(0, 1.1 * seconds[cached]))
            ended = kill(process)
            found["killed" if ended < 0 else "over before it was killed"] += 1
            found["left an entry"] += where.verify() and not cached
            left = where.left()
            found["left temporary files"] += bool(left)
            where.age()
            begun = time.perf_counter()
            assert finish(start(compile_and_compare)) == 0, f"the run after kill {number}"
            seconds[cached] = time.perf_counter() - begun  # the machine may be busier than it was
            assert where.verify() == 1 and not where.left(), (number, left, where.left())
    return found
