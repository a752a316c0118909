"""Ctrl-C comes out as KeyboardInterrupt wherever it meets the compiler or a call, and all that was there before still works."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.interrupts import hold_interrupts
from targets.runtime.runner import Runner
from tgraph import nn

B = tg.dim("B")
X = np.random.default_rng(0).standard_normal((3, 8)).astype("f")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Python's own handler: a shell starts background jobs with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folders: of the compile cache, and for temporary files."""
    for name in ("cache", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def traced() -> tg.Graph:
    return tg.trace(nn.FeedForward(8, 16), x=tg.f32[B, 8])


class Interrupt:
    """A profiler that sends SIGINT at one of the calls of Python functions that it sees, or only counts them."""

    def __init__(self, at: int = -1):
        self.at, self.count = at, 0

    def __call__(self, builder: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.count += 1
            if self.count == self.at:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

    def during(self, work: Callable[[], Any]) -> Any:
        sys.setprofile(self)
        try:
            return work()
        finally:
            sys.setprofile(None)


def spread(calls: int) -> list[int]:
    """Some of the calls that a profiler counted, early and late ones."""
    return [int(at) for at in np.linspace(1, calls, 12) + np.random.default_rng(0).uniform(0, calls / 12, 12)]


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What Python itself could not raise: an interrupt while an object is deleted."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", found.append)
    gc.disable()
    yield found
    gc.enable()


def test_an_interrupt_anywhere_in_a_compilation(places: Path, lost: list[Any]) -> None:
    old = tg.compile(traced(), cache=False)
    expected = old(X)
    count = Interrupt()
    count.during(lambda: tg.compile(traced()))
    [entry] = (places / "cache").iterdir()
    for at in spread(count.count):
        entry.unlink(missing_ok=True)
        lost.clear()
        interrupt = Interrupt(at)
        try:
            interrupt.during(lambda: tg.compile(traced()))
            assert lost or interrupt.count < at, f"no interrupt came out of call {at}"
        except KeyboardInterrupt:
            pass
        assert [p for p in (places / "cache").iterdir() if p != entry] + list((places / "temporary").iterdir()) == []
        assert np.array_equal(tg.compile(traced())(X), expected) and np.array_equal(old(X), expected)


@pytest.mark.parametrize("where", ["before a kernel", "in a pass of TVM", "while the library is linked"])
def test_an_interrupt_while_tvm_works(places: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Where Python is called by TVM, or TVM by Python, and what an exception passes is not Python's."""
    from targets.base.tvm_api import tvm
    from targets.cpu import build

    def send(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    def progress(step: str) -> None:
        if step.startswith("kernel") and where == "before a kernel":
            send()

    if where == "in a pass of TVM":
        @tvm.transform.module_pass(opt_level=0)
        def interrupted(module: Any, context: Any) -> Any:
            send()
            return module
        monkeypatch.setattr(build, "relax_passes", lambda passes=build.relax_passes: [interrupted, *passes()])
    elif where == "while the library is linked":
        import targets.base.linker
        link = targets.base.linker._run
        monkeypatch.setattr(targets.base.linker, "_run", lambda *given: (send(), link(*given))[1])
    with pytest.raises(KeyboardInterrupt):
        tg.compile(traced(), progress=progress)
    monkeypatch.undo()
    assert not list((places / "temporary").iterdir())
    exe = tg.compile(traced(), cache=False)
    assert tg.check(exe)


def test_an_interrupt_that_tvm_passes_on() -> None:
    from targets.base.tvm_api import tvm_ffi

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tvm_ffi.convert(interrupted)()


def test_an_interrupt_anywhere_in_a_first_call(lost: list[Any]) -> None:
    """It makes the virtual machine and plans memory."""
    first = tg.compile(traced(), cache=False)
    expected = first(X)
    path = Path(tempfile.mkdtemp()) / "x.tgc"
    first.save(path)
    count = Interrupt()
    exe = tg.load(path)
    count.during(lambda: exe(X))
    for at in spread(count.count):
        exe = tg.load(path)
        with contextlib.suppress(KeyboardInterrupt):
            Interrupt(at).during(lambda exe=exe: exe(X))
        assert np.array_equal(exe(X), expected), f"wrong after an interrupt at call {at}"


def test_an_interrupt_anywhere_while_weights_are_replaced(lost: list[Any]) -> None:
    exe = tg.compile(traced(), cache=False)
    sets = [{n: np.full(p.type.shape, value, "f") for n, p in exe.graph.parameters.items()} for value in (1.0, 2.0)]
    results = []
    for weights in sets:
        exe.load_weights(weights)
        results.append(exe(X))
    count = Interrupt()
    count.during(lambda: exe.load_weights(sets[0]))
    for step, at in enumerate(spread(count.count)):
        with contextlib.suppress(KeyboardInterrupt):
            Interrupt(at).during(lambda step=step: exe.load_weights(sets[step % 2]))
        now = float(next(iter(exe.weights.values())).flat[0])
        assert np.array_equal(exe(X), results[int(now) - 1]), f"weights and kernels differ after an interrupt at call {at}"


def test_held_interrupts() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), hold_interrupts() as let_in:
        let_in()
        with hold_interrupts():
            signal.raise_signal(signal.SIGINT)
            done.append("inner")
        done.append("outer")
        let_in()
        done.append("too far")
    assert done == ["inner", "outer"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt), hold_interrupts():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("what an interrupt did to TVM")


def test_handlers_that_are_not_pythons_stay() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hold_interrupts():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def on_a_thread(runner: Runner) -> None:
    """From now on the runner has a thread of its own."""
    thread = threading.Thread(target=lambda: runner(lambda: None))
    thread.start()
    thread.join()


def test_when_an_interrupt_comes_out_nothing_of_the_call_runs() -> None:
    runner = Runner(1)
    on_a_thread(runner)
    steps: list[str] = []

    def work() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        steps.append("begun")
        threading.Event().wait(0.05)  # time enough for the interrupt to come out early, if it would
        steps.append("over")

    with pytest.raises(KeyboardInterrupt):
        runner(work)
    assert steps == ["begun", "over"] and runner(lambda: 5) == 5


@pytest.mark.parametrize("method", ["put", "acquire"])
def test_an_interrupt_when_a_lock_was_just_taken(method: str) -> None:
    """The call is over, or about to be, and its caller has not seen it yet: it hung when it then waited for the call."""
    runner = Runner(1)
    on_a_thread(runner)
    steps: list[str] = []

    def interrupt(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_return" and argument.__name__ == method and frame.f_code is Runner.__call__.__code__:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def hangs(*_: Any) -> None:
        raise AssertionError("the caller waits for a call that is over")

    before = signal.signal(signal.SIGALRM, hangs)
    try:
        signal.setitimer(signal.ITIMER_REAL, 60)
        sys.setprofile(interrupt)
        with pytest.raises(KeyboardInterrupt):
            runner(lambda: steps.append("ran"))
        signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGALRM, before)
    ran = list(steps)
    assert runner(lambda: 5) == 5 and steps == ran  # nothing of it ran later


def test_an_interrupted_call_that_waited_for_others_never_runs() -> None:
    runner = Runner(1)
    on_a_thread(runner)
    begun, end = threading.Event(), threading.Event()
    ran: list[str] = []

    def first() -> None:
        begun.set()
        end.wait()
        ran.append("first")

    other = threading.Thread(target=lambda: runner(first))
    other.start()
    begun.wait()
    main = threading.main_thread().ident or 0
    threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        runner(lambda: ran.append("second"))
    assert ran == []  # it did not wait for the first
    end.set()
    other.join()
    assert runner(lambda: 5) == 5 and ran == ["first"]
