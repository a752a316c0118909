"""Less and less memory (RLIMIT_AS, the shell's ulimit -v) for each thing that takes some."""

from __future__ import annotations

import os
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

import tgraph as tg
from targets.base.threads import Thread
from tests.faults.processes import B, Place, done, model, place

LARGEST = 1 << 30  # bytes beyond what the process has; at that, all must succeed
LARGE = np.ones((1 << 16, 8), np.float32)


def address_space() -> int:
    """The bytes of addresses that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def limit(more: int) -> None:
    """Let the process have so many bytes more."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + more, resource.RLIM_INFINITY))


def steps(where: Place) -> Mapping[str, Callable[[], Callable[[], object]]]:
    """What to do under a limit, by name; each is a function that prepares it without one."""
    bundle = where.root / "x.tgc"

    def compile() -> Callable[[], object]:
        graph = model()
        return lambda: tg.compile(graph, cache=False)

    def save() -> Callable[[], object]:
        exe = tg.compile(model(), cache=False)
        return lambda: exe.save(where.root / "y.tgc")

    def load() -> Callable[[], object]:
        tg.compile(model(), cache=False).save(bundle)
        return lambda: tg.load(bundle)

    def first_call() -> Callable[[], object]:
        tg.compile(model(), cache=False).save(bundle)
        exe = tg.load(bundle)
        return lambda: exe(LARGE)

    def larger_call() -> Callable[[], object]:
        exe = tg.compile(model(), cache=False)
        exe(LARGE[:4])
        return lambda: exe(LARGE)

    def weights() -> Callable[[], object]:
        exe = tg.compile(tg.trace(tg.nn.Linear(1024, 1024), tg.f32[B, 1024]), cache=False)
        new = dict(exe.weights)
        return lambda: exe.load_weights(new)

    return {f.__name__.replace("_", " "): f for f in (compile, save, load, first_call, larger_call, weights)}


def little_memory(tries: int, say: Callable[[str], object] = print, names: tuple[str, ...] = ()) -> Counter[str]:
    """Each step under limits from little to enough: it works, or it is an OutOfMemoryError, and then works without a limit.

    Returns how often what happened. Raises AssertionError for another error, or a process that died.
    """
    found, wrong = Counter[str](), []
    with place() as where:
        where.enter()
        for name, prepare in steps(where).items():
            for more in np.geomspace(1 << 16, LARGEST, tries).astype(int).tolist() if not names or name in names else ():
                with tempfile.NamedTemporaryFile("r") as report:

                    def attempt(prepare: Callable[[], Callable[[], object]] = prepare, more: int = more,
                                path: str = report.name) -> None:
                        where.enter()
                        step = prepare()
                        with open(path, "w") as file:
                            limit(more)
                            try:
                                step()
                                file.write("works")
                            except tg.OutOfMemoryError as error:
                                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
                                file.write(f"OutOfMemoryError: {error}")
                                file.flush()
                                step()

                    status = done(attempt)
                    said = report.read()
                kind = said.split(":")[0] if status == 0 else f"status {status}"
                found[f"{name}: {kind}"] += 1
                say(f"{name} with {more / 2**20:.1f} MiB: {kind} {said}")
                if status or (more == LARGEST and said != "works"):
                    wrong.append(f"{name} with {more / 2**20:.1f} MiB: {kind}: {said}")
    assert not wrong, "\n".join(wrong)
    return found


def starved_threads() -> Counter[str]:
    """How many of the threads began, and how many were errors, that were started with 0 to 80 MiB for a stack and all else."""
    found = Counter[str]()
    for more in range(0, 80 << 20, 4 << 20):

        def attempt(more: int = more) -> None:
            thread = Thread(lambda: True)
            limit(more)
            try:
                thread.start()
            except MemoryError:
                os._exit(2)
            assert thread.result()

        found[{0: "began", 2: "error"}[done(attempt)]] += 1
    return found
