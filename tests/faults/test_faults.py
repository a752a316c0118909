"""A slice of each of the faults that `python -m tests.faults` makes by the hundred."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from tests.faults.processes import ROOT, Place, X, finish, model, place, start
from tests.mounted import mounted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


def in_a_process(code: str) -> str:
    """Forks come from a process that has run nothing."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_damage_is_found_before_code_is_loaded() -> None:
    shown = in_a_process("from tests.faults.damage import *; print(dict(damage(flips=60, cuts=20, seed=1)))")
    assert shown.strip() == "{'bundle: bit': 60, 'bundle: cut': 20, 'cache entry: bit': 60, 'cache entry: cut': 20}"


def test_kills_in_a_compilation() -> None:
    shown = in_a_process("from tests.faults.killing import *; print(kill_compilations(12)['killed'])")
    assert int(shown) >= 4


def test_eight_processes_and_one_cache() -> None:
    """Which somebody removes again and again meanwhile: then it is off, with a warning at most, and results are right."""
    assert "right" in in_a_process("from tests.faults.test_faults import share_a_cache; share_a_cache(); print('right')")


def share_a_cache() -> None:
    with place() as where:
        def compile(removed: bool) -> Callable[[], None]:
            def work() -> None:
                where.enter()
                if removed:
                    import warnings

                    warnings.simplefilter("default")
                for hidden in (16, 24):
                    exe = tg.compile(model(hidden))
                    assert np.array_equal(exe(X), np.load(where.root / f"{hidden}.npy"))
            return work

        def expected() -> None:
            where.enter()
            for hidden in (16, 24):
                np.save(where.root / f"{hidden}.npy", tg.compile(model(hidden), cache=False)(X))

        assert finish(start(expected)) == 0
        running = [start(compile(False)) for _ in range(8)]
        assert [finish(p) for p in running] == [0] * 8 and where.verify() == 2 and not where.left()
        running = [start(compile(True)) for _ in range(4)]
        for _ in range(20):
            remove(where)
            time.sleep(0.05)
        assert [finish(p) for p in running] == [0] * 4


def remove(where: Place) -> None:
    import shutil

    shutil.rmtree(where.cache, ignore_errors=True)


def test_little_memory() -> None:
    shown = in_a_process("from tests.faults.memory import little_memory; print(little_memory(5, lambda said: None))")
    assert "OutOfMemoryError" in shown and "works" in shown


def test_a_thread_without_memory_is_an_error() -> None:
    """Not a wait without end, as with `threading.Thread.start`."""
    shown = in_a_process("from tests.faults.memory import starved_threads; print(*sorted(starved_threads()))")
    assert shown.split() == ["began", "error"]


READ_ONLY = """
import sys, warnings, tgraph as tg
from tests.faults.processes import X, model
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    exes = [tg.compile(model(hidden)) for hidden in (16, 16, 24)]
assert [exe(X).shape for exe in exes] == [(3, 8)] * 3
print(len(said), *sorted({exe.cache.outcome for exe in exes}), said[0].message if said else "")
"""


@pytest.mark.parametrize("kind", ["read-only", "too long", "a dangling link", "below a file"])
def test_a_cache_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    """One warning, and all is compiled."""
    folder, before = tmp_path / "cache", ()
    if kind == "read-only":
        folder.mkdir()
        before = mounted(folder, "ro")
    elif kind == "too long":
        folder = tmp_path / ("x" * 300)
    elif kind == "a dangling link":
        folder.symlink_to(tmp_path / "nowhere" / "else")
    else:
        (tmp_path / "file").write_text("")
        folder = tmp_path / "file" / "cache"
    done = subprocess.run([*before, sys.executable, "-c", READ_ONLY], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "TGRAPH_CACHE": str(folder)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 off compiled graphs are not kept for the next time"), done.stdout


PIPES = ["dump bert-tiny", "ops", "opt bert-tiny --level O3", "explain bert-tiny --json", "--help"]


@pytest.mark.parametrize("line", PIPES)
def test_a_reader_that_goes(line: str, tmp_path: Path) -> None:
    """As in `tgraph dump ... | head -1`: the command ends without a word."""
    process = subprocess.Popen([sys.executable, "-m", "tgraph", *line.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "PYTHONPATH": str(ROOT), "TGRAPH_CACHE": str(tmp_path)})
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(300) == 141 and not said, said


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_signals_to_commands(name: str) -> None:
    from tests.faults.interrupting import interrupt_commands

    commands = ("compile", "embed") if name == "INT" else ("compile",)
    found = interrupt_commands(4, name, commands, seed=2)
    assert sum(found.values()) == 4 * len(commands)


def test_every_command_is_interrupted() -> None:
    from tests.faults.interrupting import COMMANDS as INTERRUPTED
    from tests.faults.interrupting import QUICK
    from tgraph.cli import COMMANDS

    assert sorted([*INTERRUPTED, *QUICK]) == sorted(COMMANDS)


@pytest.mark.thorough
@pytest.mark.parametrize("arguments", ["calls(20_000, 1)", "calls(20_000, 8)", "cycles(12)"])
def test_nothing_grows(arguments: str) -> None:
    in_a_process(f"from tests.faults.soak import *; {arguments}")
