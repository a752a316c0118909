"""What a parser may not do while it reads a file: reach beyond its folder, run what the file brings, take all memory, not end."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
# Where Python's own files lie: modules that a parser imports when it first needs them, and lines that errors quote.
_OURS = tuple({os.path.realpath(p) for p in (ROOT, sys.prefix, sys.base_prefix, *filter(os.path.isdir, sys.path))})
_DEVICES = ("/dev/urandom", "/dev/null", "/proc/", "/sys/", "/usr/lib", "/usr/local", "/opt", "/usr/share/zoneinfo",
            "/etc/localtime")
_NEVER = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "ctypes.dlopen",
          "webbrowser.open", "os.chmod", "os.chown", "os.symlink", "os.link", "os.truncate",
          "code.__new__", "cpython.run_command", "cpython.run_file"}
_PATHS = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.listdir", "os.scandir"}  # first argument: a path


GUARD = 120.0  # seconds after which a hang outside of Python ends the process


class ReachError(BaseException):
    """A parser did what no file may make it do. No parser can catch it as an error of its own."""


class HangError(BaseException):
    """A parser did not end in time."""


class _Watch:
    """folder: in which files may be opened; None while nothing is watched. guarded: when the guard against hangs was set."""

    folder: str | None = None
    guarded = 0.0
    installed = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    folder = _Watch.folder
    if folder is None:
        return
    wrong: object = None
    if event == "open":
        wrong = _wrong_path(arguments[0], folder, _writes(arguments))
    elif event == "exec" and isinstance(arguments[0], CodeType):
        name = arguments[0].co_filename
        wrong = None if name.startswith(("<frozen", *_OURS)) or _defines(arguments[0]) else name
    elif event.startswith("marshal."):  # modules are imported so
        wrong = None if sys._getframe(1).f_code.co_filename.startswith("<frozen importlib") else arguments[:1]
    elif event == "ctypes.dlopen" and str(arguments[0]).startswith(("libcu", "libnv")) and "/" not in str(arguments[0]):
        return  # a target "cuda" asks the system for its driver and runtime
    elif event in _NEVER or event.startswith("socket."):
        wrong = arguments[:2]
    elif event in _PATHS:
        wrong = _wrong_path(arguments[0], folder, event not in ("os.listdir", "os.scandir"))
    if wrong is not None:
        _Watch.folder = None  # what comes next is the report
        raise ReachError(f"{event}: {wrong!r}")


def _defines(code: CodeType) -> bool:
    """Whether this is how dataclasses, named tuples and networkx make functions, of a module that is imported now."""
    if code.co_filename.startswith("<class 'networkx."):
        return True
    return code.co_filename == "<string>" and sys._getframe(3).f_code.co_filename.startswith(_OURS)


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = (*arguments, None, None)[:3]
    return bool(set(mode or "") & set("wax+")) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _wrong_path(path: Any, folder: str, writes: bool) -> object:
    if isinstance(path, int):
        return None
    if isinstance(path, str) and path.startswith(folder) and ".." not in path:  # parsers make no links
        return None
    real = os.path.realpath(os.fsdecode(path))
    if real.startswith(folder):
        return None
    return None if not writes and real.startswith((*_OURS, *_DEVICES)) else f"{'written' if writes else 'read'}: {real}"


@contextlib.contextmanager
def confined(folder: str, seconds: float) -> Iterator[None]:
    """Raise ReachError for files outside of the folder (a real path), other programs, the network and code; HangError after
    so many seconds of CPU time. (What waits for something else takes none: `guard` is for that.)"""
    if not _Watch.installed:
        sys.addaudithook(_audit)  # Python has no way to remove it
        _Watch.installed = True
    before = signal.signal(signal.SIGPROF, _late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    _Watch.folder = folder
    try:
        yield
    finally:
        _Watch.folder = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def guard() -> None:
    """End the process with a traceback unless this is called again within GUARD seconds: for what hangs outside of Python, where
    no exception comes."""
    now = time.monotonic()
    if now - _Watch.guarded > GUARD / 4:  # a thread is started for it
        faulthandler.dump_traceback_later(GUARD, exit=True)
        _Watch.guarded = now


def _late(_signal: int, _frame: FrameType | None) -> None:
    raise HangError("no end in time")


@contextlib.contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Let the process map `more` bytes besides those that it has; then allocations fail with MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
