"""Processes that fork, are started, and end, in whatever state tgraph is: they work, or say why not, and never hang."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import tgraph as tg
from tests.stateful import Counter

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

START = """
import multiprocessing, os, sys, threading, time, traceback
import numpy as np
import tgraph as tg
from tgraph import nn

B = tg.dim("B")
X = np.random.default_rng(0).standard_normal((300, 32)).astype("f")
def graph(hidden=64): return tg.trace(nn.FeedForward(32, hidden), x=tg.f32[B, 32])
def call(_=0): return exe(X).tobytes()

def in_child(work, end=os._exit):
    "What work gives in a forked child."
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            os.close(read)
            with open(write, "wb") as file:
                file.write(work())
        except BaseException:
            traceback.print_exc()
            end(1)
        end(0)
    os.close(write)
    with open(read, "rb") as file:
        found = file.read()
    assert os.wait()[1] == 0
    return found

def on_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread
"""


def run(script: str, *arguments: str) -> str:
    """What a program prints. It ends within the time, with status 0, and has nothing to complain of."""
    result = subprocess.run([sys.executable, "-c", START + script, *arguments], capture_output=True, text=True, env=ENVIRONMENT,
                            timeout=180)
    assert result.returncode == 0 and not result.stderr, (result.returncode, result.stderr)
    return result.stdout.strip()


def test_children_after_calls() -> None:
    """Of the main thread, then of the runner's thread: they call, compile, load weights, fork again, and end as programs do."""
    assert run("""
exe = tg.compile(graph(), cache=False)
expected = exe(X).tobytes()
def all_that():
    fresh = tg.compile(graph(40), cache=False)
    first = fresh(X)
    fresh.load_weights({n: a * 2 for n, a in fresh.weights.items()})
    assert not np.array_equal(fresh(X), first) and in_child(call) == expected
    return call()
assert in_child(all_that, sys.exit) == expected and in_child(lambda: b"no call", sys.exit) == b"no call"
on_a_thread(call).join()
assert in_child(all_that) == expected and call() == expected
print("right")
""") == "right"


def test_children_while_another_thread_calls() -> None:
    """A call is in the middle of the virtual machine then, and holds what it holds."""
    assert run("""
exe = tg.compile(graph(), cache=False)
expected, end = exe(X).tobytes(), threading.Event()
def busy():
    while not end.is_set():
        call()
threads = [on_a_thread(busy) for _ in range(3)]
print({in_child(call) == expected for _ in range(6)})
end.set()
""") == "{True}"


def test_children_while_another_thread_compiles() -> None:
    """They compile, or say why they cannot; what was compiled before works in any case."""
    found = run("""
exe = tg.compile(graph(), cache=False)
expected, end = exe(X).tobytes(), threading.Event()
def busy():
    while not end.is_set():
        tg.compile(graph(40), cache=False)
thread = on_a_thread(busy)
def compile():
    assert call() == expected
    try:
        assert tg.compile(graph(), cache=False)(X).tobytes() == expected
    except tg.CompileError as error:
        assert "forked while another thread" in str(error), error
        return b"refused"
    return b"compiled"
for _ in range(4):
    time.sleep(np.random.default_rng().uniform(0, 0.3))
    print(in_child(compile).decode())
end.set()
""")
    assert set(found.split()) <= {"compiled", "refused"}


def test_workers_that_a_server_forks() -> None:
    """The model is loaded once, before; all of them and their parent answer."""
    assert run("""
exe = tg.compile(graph(), cache=False)
expected = call()
with multiprocessing.get_context("fork").Pool(4) as pool:
    answers = pool.map_async(call, range(40))
    own = [call() for _ in range(20)]
    assert set(answers.get(60)) == set(own) == {expected}
print("right")
""") == "right"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_of_their_own(tmp_path: Path, method: str) -> None:
    """They load the bundle; an executable itself does not travel."""
    script = tmp_path / "served.py"
    script.write_text(START + """
def load(path):
    global exe
    exe = tg.load(path)
if __name__ == "__main__":
    exe = tg.compile(graph(), cache=False)
    exe.save(sys.argv[1])
    context = multiprocessing.get_context(sys.argv[2])
    with context.Pool(2, load, [sys.argv[1]]) as pool:
        assert set(pool.map(call, range(8))) == {call()}
    try:
        context.Process(target=exe, args=(X,)).start()
    except tg.TargetError as error:
        print(error)
""")
    result = subprocess.run([sys.executable, script, tmp_path / "x.tgc", method], capture_output=True, text=True, timeout=180,
                            env=ENVIRONMENT)
    assert result.returncode == 0 and "belongs to its process" in result.stdout, result.stderr


def test_what_does_not_travel_says_so() -> None:
    one = tg.compile(tg.trace(Counter(), name="tick"), "numpy")
    several = tg.compile(tg.trace_program(Counter(), __call__={}), "numpy")
    for thing in (one, several, one.session()):
        with pytest.raises(tg.TargetError, match=r"belongs to its process.*save.*tg\.load"):
            pickle.dumps(thing)


COMPILE = "tg.compile(graph(40), cache=False)"


@pytest.mark.parametrize(("daemon", "work"), [(True, "call()"), (False, "call()"), (True, COMPILE), (False, COMPILE)])
def test_the_interpreter_ends_while_others_work(daemon: bool, work: str) -> None:
    """What a daemon thread does stops; other threads end first."""
    assert run(f"""
import atexit
exe = tg.compile(graph(), cache=False)
expected = call()
def busy():
    for _ in range({10**9 if daemon else 2}):
        try:
            {work}
        except tg.TargetError as error:
            assert "interpreter is ending" in str(error)
            break
threads = [threading.Thread(target=busy, daemon={daemon}) for _ in range(2)]
for thread in threads:
    thread.start()
atexit.register(lambda: print(call() == expected))
time.sleep(float(np.random.default_rng().uniform(0, 0.5)))
""") == "True"


def test_calls_when_the_interpreter_is_ending() -> None:
    """From the main thread only."""
    assert run("""
import atexit
now = threading.Event()
def late():
    assert call() == expected
    now.set()
    thread.join()
atexit.register(late)  # before anything of targets is imported, so that it comes last
def wait():
    now.wait()
    try:
        call()
    except tg.TargetError as error:
        print(error)
exe = tg.compile(graph(), cache=False)
expected = call()
on_a_thread(call).join()
thread = threading.Thread(target=wait, daemon=True)
thread.start()
""") == "the interpreter is ending, and takes no more calls from other threads than the main one"
