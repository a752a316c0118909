"""Many threads at once: calls, compilations, sessions, weights that change meanwhile; and how many workers there are."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.cores import cpu_share, default_threads
from targets.runtime.runner import runner
from tests.stateful import program
from tgraph import nn

ROOT = Path(__file__).resolve().parents[2]
B, S = tg.dims("B S")
INPUTS = [np.random.default_rng(n).standard_normal((n % 3 + 1, n + 1, 16)).astype("f") for n in range(8)]


pytestmark = pytest.mark.usefixtures("compiled_once")


def encoder(hidden: int = 32) -> tg.Graph:
    return tg.trace(nn.EncoderLayer(16, 2, hidden), x=tg.f32[B, S, 16])


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """The results of `work(0)`, `work(1)`, ... in threads that begin together. Raises what the first of them raises."""
    results: list[Any] = [None] * count
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        gate.wait()
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.mark.parametrize("target", ["cpu", "numpy"])
def test_sixteen_threads_and_three_executables(target: str) -> None:
    exes = [tg.compile(encoder(hidden), target) for hidden in (32, 40, 48)]
    expected = [[exe(x) for x in INPUTS] for exe in exes]

    def call(number: int) -> bool:
        turns = [(i % 3, (number + i) % len(INPUTS)) for i in range(24)]
        return all(np.array_equal(exes[e](INPUTS[i]), expected[e][i]) for e, i in turns)

    assert all(at_once(16, call))


def test_compilations_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of different graphs and of the same one, into one cache; traced in the threads, too."""
    x, expected = INPUTS[1], {hidden: tg.compile(encoder(hidden))(INPUTS[1]) for hidden in (32, 40)}
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path))

    def compile(number: int) -> bool:
        hidden = 32 + 8 * (number % 2)
        exe = tg.compile(encoder(hidden))
        path = tmp_path / f"{number}.bundle"
        exe.save(path)
        return np.array_equal(exe(x), expected[hidden]) and np.array_equal(tg.load(path)(x), expected[hidden])

    assert all(at_once(4, compile)) and len(list(tmp_path.glob("*.tgc"))) == 2
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_sessions_side_by_side() -> None:
    exe = tg.compile(program())
    source, x = INPUTS[2][:, :3, :8], INPUTS[5][:, :, :8]

    def generate(number: int) -> list[bytes]:
        session = exe.session(B=3, C=16)
        session.encode(source + number)
        return [session.step(x[:, i:i + 1]).y.tobytes() for i in range(6)]

    assert at_once(6, generate) == [generate(number) for number in range(6)]


def test_a_session_in_two_threads_is_an_error() -> None:
    """Which names what to do. One thread after the other may use it."""
    exe = tg.compile(program())
    session, x = exe.session(B=1, C=16), np.ones((1, 1, 8), "f")
    begun, end = threading.Event(), threading.Event()

    def occupy() -> None:
        begun.set()
        end.wait(60)

    threads = [threading.Thread(target=lambda: runner()(occupy)),
               threading.Thread(target=lambda: session.encode(np.ones((1, 2, 8), "f")))]
    threads[0].start()
    begun.wait(60)
    threads[1].start()  # and waits for its turn in the middle of a call
    while threads[1].is_alive() and session._busy.acquire(blocking=False):
        session._busy.release()
    uses: list[Callable[[], object]] = [lambda: session.step(x), session.reset, session.fork, lambda: session["k"],
                                        lambda: session.reorder([0]), lambda: session.__setitem__("position", np.array(1))]
    for use in uses:
        with pytest.raises(tg.InputError, match=r"another thread is using this session of encode, step.*a session of its own"):
            use()
    end.set()
    for thread in threads:
        thread.join()
    assert session.step(x).y.shape == (1, 1, 8)


def test_weights_that_change_while_others_call() -> None:
    """Each call sees all of the old ones or all of the new ones."""
    exe = tg.compile(tg.trace(nn.FeedForward(8, 16), x=tg.f32[B, 8]))
    sets = [{n: np.full(p.type.shape, value, "f") for n, p in exe.graph.parameters.items()} for value in (1.0, 2.0)]
    x, possible = np.ones((2, 8), "f"), []
    for weights in sets:
        exe.load_weights(weights)
        possible.append(exe(x).tobytes())
    over = threading.Event()

    def work(number: int) -> set[bytes]:
        if number == 0:
            for turn in range(40):
                exe.load_weights(sets[turn % 2])
            over.set()
        found = {exe(x).tobytes()}
        while not over.is_set():
            found.add(exe(x).tobytes())
        return found

    assert set().union(*at_once(4, work)) <= set(possible)


def test_an_executable_that_is_dropped_while_another_thread_calls_it(tmp_path: Path) -> None:
    exe = tg.compile(encoder())
    exe.save(tmp_path / "x.tgc")
    expected, alive = exe(INPUTS[3]), weakref.ref(exe._compiled.library)
    begun, end = threading.Barrier(2), threading.Event()

    def call(run: Callable[..., Any]) -> None:
        begun.wait()
        while not end.is_set():
            if not np.array_equal(run({"x": INPUTS[3]})["output"], expected):
                wrong.append("other bits")

    wrong: list[str] = []
    thread = threading.Thread(target=call, args=(exe.run,))
    thread.start()
    begun.wait()
    del exe
    gc.collect()
    for _ in range(5):  # others come and go
        assert np.array_equal(tg.load(tmp_path / "x.tgc")(INPUTS[3]), expected)
    assert alive() is not None
    end.set()
    thread.join()
    del thread
    gc.collect()
    assert not wrong and alive() is None


COUNT = """
import numpy as np, sys, tgraph as tg
from targets.runtime.runner import runner
exe = tg.compile(tg.trace(tg.relu, x=tg.f32[tg.dim("B")]))
if len(sys.argv) > 1:
    tg.set_num_threads(int(sys.argv[1]))
exe(np.ones(3, "f"))
from targets.base.tvm_api import tvm
print(runner()(lambda: tvm.get_global_func("runtime.NumThreads")()))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
@pytest.mark.parametrize(("cores", "variable", "asked", "workers"), [
    (1, None, None, 1), (None, "1", None, 1), (None, "3", None, 3), (None, "3", "2", 2), (None, "nonsense", "1", 1)])
def test_workers(cores: int | None, variable: str | None, asked: str | None, workers: int) -> None:
    """As many as cores that the process may use, as TVM_NUM_THREADS says, or as were asked for."""
    environment = {k: v for k, v in os.environ.items() if k != "TVM_NUM_THREADS"} | {"PYTHONPATH": str(ROOT)}
    if variable is not None:
        environment["TVM_NUM_THREADS"] = variable
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, sorted(before)[:cores])
        result = subprocess.run([sys.executable, "-c", COUNT, *([asked] if asked else [])], capture_output=True, text=True,
                                env=environment, timeout=120)
    finally:
        os.sched_setaffinity(0, before)
    assert result.stdout.strip() == str(workers), result.stderr


@pytest.mark.parametrize(("membership", "files", "share"), [
    ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1.5),
    ("0::/", {"cpu.max": "50000 100000"}, 0.5),
    ("0::/gone", {"cpu.max": "max 100000"}, None),
    ("3:cpu,cpuacct:/a\n2:memory:/b\n0::/",
     {"cpu,cpuacct/a/cpu.cfs_quota_us": "400000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
      "cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 4.0),
    ("1:cpu:/x", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
    ("4:cpuset:/", {"cpu.max": "100000 100000"}, None),
])
def test_the_share_of_a_container(tmp_path: Path, membership: str, files: dict[str, str], share: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "membership").write_text(membership + "\n")
    assert cpu_share(tmp_path, tmp_path / "membership") == share
    assert cpu_share(tmp_path, tmp_path / "nothing") is None and default_threads() >= 1
