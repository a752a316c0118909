"""Processes that faults happen to: forked from one that has imported everything and run nothing, or commands of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import tgraph as tg
from targets.runtime.archive import Archive
from targets.runtime.cache import FIELDS
from tgraph import nn

ROOT = Path(__file__).resolve().parents[2]
B = tg.dim("B")
X = np.random.default_rng(0).standard_normal((3, 8)).astype("f")
FOREIGN = (".ses",)  # files that libraries make: ONNX Runtime's telemetry
LEFT = ("tgraph-link-*", "tgraph-library-*", ".*.partial")  # names of what may be left by a process that was killed


def model(hidden: int = 16) -> tg.Graph:
    """A small graph of three kernels."""
    return tg.trace(nn.FeedForward(8, hidden), x=tg.f32[B, 8])


class Place:
    """Folders of a run: of the compile cache, and for temporary files."""

    def __init__(self, root: Path):
        self.root, self.cache, self.temporary = root, root / "cache", root / "temporary"
        for folder in (self.cache, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)

    def enter(self) -> None:
        """Make this process use them; what is damaged is an error."""
        os.environ["TGRAPH_CACHE"] = str(self.cache)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.temporary)
        warnings.simplefilter("error")

    def left(self) -> list[Path]:
        """What processes that were killed have left. Raises AssertionError for what has no business here."""
        found = [p for p in (*self.cache.iterdir(), *self.temporary.iterdir())
                 if p.suffix != ".tgc" and p.name not in FOREIGN]
        strange = [p for p in found if not any(p.match(pattern) for pattern in LEFT)]
        assert not strange, strange
        return found

    def age(self) -> None:
        """Let two hours pass for what was left."""
        for path in self.left():
            os.utime(path, (path.stat().st_mtime - 7200,) * 2)

    def verify(self) -> int:
        """Check every entry of the cache against its digests, and return how many there are."""
        entries = list(self.cache.glob("*.tgc"))
        for entry in entries:
            Archive(entry, FIELDS).verify()
        return len(entries)


@contextmanager
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="tgraph-faults-") as folder:
        yield Place(Path(folder))


def start(work: Callable[[], None]) -> int:
    """Do work in a forked process; its id."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def finish(process: int) -> int:
    """Wait for a process; its exit status, or less the number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def done(work: Callable[[], None]) -> int:
    """The exit status of work in a forked process."""
    return finish(start(work))


def kill(process: int) -> int:
    """End a process at once, and let the compiler that it may have started end by itself."""
    os.kill(process, signal.SIGKILL)
    status = finish(process)
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(process, 0)
            time.sleep(0.01)
    return status
