"""The verdict on one input: read, refused with an error of tgraph's own, or a fault."""

from __future__ import annotations

import functools
import os
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.sandbox import ROOT, HangError, ReachError, confined
from tgraph.ir.errors import TGraphError

SECONDS = 5.0  # of CPU time for one input, of a few kilobytes; such inputs take milliseconds


@dataclass(frozen=True)
class Fault:
    """kind: error, hang, memory or reach. where: the innermost line of tgraph's. Equal faults have equal kinds and places."""

    kind: str
    what: str
    where: str
    trace: str = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.kind} at {self.where}: {self.what}"


def judge(read: Callable[[Path], object], path: Path, seconds: float = SECONDS) -> Fault | None:
    """Read a file, whose folder is all that may be touched. None if that gives a result, or an error of tgraph's own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with confined(_real(str(path.parent)), seconds):
                read(path)
    except TGraphError as error:
        wanted = any(sign in str(error) for sign in ("MemoryError", "Unable to allocate", "bad_alloc"))
        return _fault("memory", error) if wanted else None
    except HangError as error:
        return _fault("hang", error)
    except ReachError as error:
        return _fault("reach", error)
    except MemoryError as error:
        return _fault("memory", error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # panics of Rust's libraries are no Exception
        return _fault("error", error)
    return None


_real = functools.cache(os.path.realpath)


def _fault(kind: str, error: BaseException) -> Fault:
    frames = [f for f in traceback.extract_tb(error.__traceback__)
              if f.filename.startswith(str(ROOT)) and "/tests/hostile/" not in f.filename]
    where = f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno}" if frames else "outside"
    what = type(error).__name__ if kind != "reach" else str(error)
    return Fault(kind, what, where, "".join(traceback.format_exception(error))[-6000:])
