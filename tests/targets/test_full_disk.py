"""Full disks, quotas and limits: one clear error, nothing left behind, and what needs no disk goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base import linker
from targets.runtime import cache
from tests.mounted import mounted
from tgraph import nn
from tgraph.formats.disk import replacing, writing

ROOT = Path(__file__).resolve().parents[2]
B = tg.dim("B")


def test_the_error_names_file_room_and_need(tmp_path: Path) -> None:
    with pytest.raises(tg.DiskError, match=r"^x\.tgc cannot be written: .* \(it needs 1,000 bytes, and [\d,]+ bytes are free in "
                                           ) as full, writing("x.tgc", tmp_path, 1000):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert isinstance(full.value, OSError) and full.value.errno == errno.ENOSPC
    assert (full.value.folder, full.value.needed) == (str(tmp_path), 1000)
    with pytest.raises(PermissionError), writing("x.tgc", tmp_path):
        raise PermissionError(errno.EACCES, "not yours")


def test_a_file_that_finds_no_room_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.tg"
    path.write_text("before")
    with pytest.raises(tg.DiskError, match=str(path)), replacing(path, 5) as file:
        file.write(b"after")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


START = """
import os, sys, tempfile, warnings
import numpy as np
import tgraph as tg
from tgraph import nn
B = tg.dim("B")
warnings.simplefilter("always")
def graph(hidden=16):
    return tg.trace(nn.FeedForward(8, hidden), x=tg.f32[B, 8])
x = np.random.default_rng(0).standard_normal((3, 8)).astype("f")
def left(): return sorted(os.listdir(tempfile.gettempdir()))
"""
LIMITED = START + """
import resource
expected = tg.compile(graph(), cache=False)(x)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
with warnings.catch_warnings(record=True) as said:
    for hidden in (16, 24, 16):
        exe = tg.compile(graph(hidden))
assert np.array_equal(exe(x), expected)
path = sys.argv[2]
try:
    exe.save(path)
    assert np.array_equal(tg.load(path)(x), expected)
    os.unlink(path)
    print("saved", len(said), exe.cache.outcome)
except tg.DiskError as error:
    assert "ulimit -f" in str(error), error
    print("full", len(said), exe.cache.outcome)
assert left() == [], left()
"""


def run(script: str, tmp_path: Path, *arguments: str, before: tuple[str, ...] = ()) -> str:
    (tmp_path / "temporary").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary"),
                   "TGRAPH_CACHE": str(tmp_path / "cache")}
    result = subprocess.run([*before, sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=environment,
                            timeout=300)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
    return result.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit as Linux knows it")
@pytest.mark.parametrize(("limit", "outcome"), [(100, "full 1 off"), (20_000, "full 1 off"), (1 << 24, "saved 0 hit")])
def test_a_limit_on_the_size_of_files(tmp_path: Path, limit: int, outcome: str) -> None:
    """LLVM would end the process where an object file is too large."""
    assert run(LIMITED, tmp_path, str(limit), str(tmp_path / "x.tgc")) == outcome
    assert not list(tmp_path.glob("*.tgc*"))


FULL_TEMPORARY = START + """
with warnings.catch_warnings(record=True) as said:
    exes = [tg.compile(graph()) for _ in range(3)]
assert len(said) == 1 and "No space left on device" in str(said[0].message) and "bytes" in str(said[0].message), said
assert exes[2].cache.outcome == "off" and exes[2](x).shape == (3, 8)
try:
    exes[0].save(sys.argv[1])
except tg.DiskError as error:
    assert "No space left on device" in str(error)
else:
    raise AssertionError("saved")
assert left() == [] and not os.path.exists(sys.argv[1])
"""
FULL_TARGET = START + """
path = os.path.join(sys.argv[1], "x.tgc")
exe = tg.compile(graph(), cache=False)
exe.save(path)
wide = tg.compile(graph(70000), cache=False)
try:
    wide.save(path)
except tg.DiskError as error:
    assert path in str(error) and "No space left on device (it needs " in str(error), error
else:
    raise AssertionError("saved")
assert os.listdir(sys.argv[1]) == ["x.tgc"] and np.array_equal(tg.load(path)(x), exe(x))
"""
FULL_CACHE = START + """
warnings.simplefilter("error")
folder = os.environ["TGRAPH_CACHE"]
for hidden in range(16, 64, 8):
    exe = tg.compile(graph(hidden))
    assert exe.cache.outcome == "miss" and exe(x).shape == (3, 8), exe.cache
    assert tg.compile(graph(hidden)).cache.hit
assert 1 <= len(os.listdir(folder)) < 6 and not [n for n in os.listdir(folder) if n.startswith(".")]
assert not tg.compile(graph(16)).cache.hit  # the oldest went
"""


@pytest.mark.parametrize(("script", "folder", "size"), [
    (FULL_TEMPORARY, "temporary", "12k"), (FULL_TEMPORARY, "temporary", "40k"), (FULL_TARGET, "target", "1m"),
    (FULL_CACHE, "cache", "240k"),
])
def test_a_full_disk(tmp_path: Path, script: str, folder: str, size: str) -> None:
    for name in ("temporary", "target", "cache"):
        (tmp_path / name).mkdir()
    place = mounted(tmp_path / folder, f"size={size}")
    argument = tmp_path / "target" if folder == "target" else tmp_path / "x.tgc"
    run(script, tmp_path, str(argument), before=place)
    assert not (tmp_path / "x.tgc").exists()


# The cache, with a disk that is planted

@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path / "cache"))
    cache._WARNED.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield tmp_path / "cache"
    cache._WARNED.clear()


def traced(hidden: int) -> tg.Graph:
    return tg.trace(nn.Linear(8, hidden), x=tg.f32[B, 8])


def test_the_oldest_entries_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, hidden in enumerate((8, 9, 10)):
        tg.compile(traced(hidden))
        newest = max(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns)
        os.utime(newest, (age + 1, age + 1))
    kept = sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime)
    room = [kept[0].stat().st_size + 1]
    write = cache.write_archive

    def write_if_there_is_room(path: Path, *given: Any) -> None:
        if len(list(folder.iterdir())) > 2:
            raise writing_failed(path, room[0])
        write(path, *given)

    def writing_failed(path: Path, needed: int) -> tg.DiskError:
        error = tg.DiskError("full", str(path.parent), needed)
        error.errno = errno.ENOSPC
        return error

    monkeypatch.setattr(cache, "write_archive", write_if_there_is_room)
    monkeypatch.setattr(cache, "SLACK", 0)
    exe = tg.compile(traced(11))
    assert str(exe.cache).startswith("miss") and tg.compile(traced(11)).cache.hit  # type: ignore[union-attr]
    assert [path.exists() for path in kept] == [False, False, True]
    monkeypatch.setattr(cache, "write_archive", lambda path, *_: (_ for _ in ()).throw(writing_failed(path, 1)))
    with pytest.warns(UserWarning, match="not kept for the next time"):
        assert tg.compile(traced(12)).cache.outcome == "off"  # type: ignore[union-attr]
    assert tg.compile(traced(13)).cache.outcome == "off"  # type: ignore[union-attr]  # a second warning would be an error


def test_no_room_to_load_an_entry_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tg.compile(traced(8))
    [entry] = folder.iterdir()
    import targets.runtime.library

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(targets.runtime.library.tempfile, "mkstemp", full)
        patch.setattr(cache, "_make_room", lambda *_: False)
        with pytest.warns(UserWarning, match="not kept for the next time.*cannot be written"):
            second = tg.compile(traced(8))
    x = np.ones((2, 8), "f")
    assert np.array_equal(second(x), first(x)) and entry.exists()
    assert tg.compile(traced(8)).cache.hit  # type: ignore[union-attr]


def test_what_the_linker_says_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "compiler"
    monkeypatch.setenv("CXX", str(compiler))
    exe = tg.compile(traced(8), cache=False)
    for said, error, shown in (("ld: final link failed: No space left on device\ncollect2: error: ld returned 1 exit status",
                                tg.DiskError, "No space left"),
                               ("ld: unknown architecture\ncollect2: error: ld returned 1", tg.CompileError, "ld: unknown arch")):
        compiler.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
        compiler.chmod(0o755)
        with pytest.raises(error, match=shown):
            exe.save(tmp_path / "x.tgc")
    assert linker.find_compiler() == str(compiler) and not (tmp_path / "x.tgc").exists()
