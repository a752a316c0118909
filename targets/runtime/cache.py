"""The compile cache: results of compilations in files, by a digest of everything that they depend on.

An entry is a bundle without weights (`bundle.py`), in a folder of the user's; the environment variable TGRAPH_CACHE names another
folder, or is "off". A file appears when it is complete, so that any number of processes may share the folder, and its
digests are checked before it is used. The files used last are kept, LIMIT bytes of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from passes.base import Pass
from passes.manager import PassRecord
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.base.tvm_api import tvm_version
from targets.runtime.archive import Archive, write_archive
from targets.runtime.bundle import COMPILED, code_entries, constant_entries, read_compiled, read_programs
from targets.runtime.compiled import Compiled
from targets.runtime.foreign import foreign_code, source_digest
from targets.runtime.manifest import Fields
from targets.runtime.signatures import SIGNATURES, signatures
from tgraph.formats.disk import PARTIAL, remove_stale
from tgraph.ir.errors import CompileError, DiskError, TGraphError
from tgraph.ir.program import Program
from tgraph.ir.weights import Weights
from tgraph.version import VERSION

FOLDER = "TGRAPH_CACHE"  # environment variable: the folder in place of the user's, or "off"
LIMIT = 256 * 2**20  # bytes; an entry of BERT-base has half a megabyte
SLACK = 2**16  # bytes that an entry takes besides its parts: the manifest, and whole blocks of the disk
FIELDS: Fields = {
    "tgraph": str, "facts": {str: str}, "signatures": SIGNATURES, "time": float,
    "records": {str: [{"name": str, "seconds": float, "nodes_before": int, "nodes_after": int, "changed": bool,
                       "rewrites": {str: int}, "attempts": int}]},
}
_WARNED: set[type[Exception]] = set()
SHOWN = ("passes", "target", "TVM", "precision", "weights", "CUDA compiler", "Triton")  # facts whose values mean something


@dataclass(frozen=True)
class CacheResult:
    """How the cache took part in a compilation: "hit", "miss" or "off", and why."""

    outcome: str
    why: str

    @property
    def hit(self) -> bool:
        return self.outcome == "hit"

    def __str__(self) -> str:
        return f"{self.outcome}: {self.why}"


class CacheEntry:
    """The entry of one compilation in the cache; without a path nothing is read or kept. `result` says what was found there."""

    def __init__(self, path: Path | None, target: Target, facts: Mapping[str, str], result: CacheResult):
        self.path, self.target, self.facts, self.result = path, target, facts, result

    def load(self, weights: Weights) -> Compiled | None:
        """What an earlier compilation made, for these weights; None if there is none. A damaged file warns, and is removed."""
        if self.path is None:
            return None
        try:
            if not self.path.exists():
                self.result = CacheResult("miss", _nearest(self.path, self.facts))
                return None
        except OSError as error:  # a folder that this process may not look into; `keep` warns
            self.result = CacheResult("miss", str(error))
            return None
        try:
            archive = Archive(self.path, FIELDS)
            archive.verify()
            programs = read_programs(archive, COMPILED)
            programs["optimized"].share(weights)
            programs["prepare"].share(weights)
            compiled = read_compiled(archive, self.target, programs)
            compiled.records = {name: [PassRecord(**record) for record in records]
                                for name, records in archive.manifest["records"].items()}
            made = time.strftime("%Y-%m-%d %H:%M", time.localtime(archive.manifest["time"]))
        except DiskError as error:  # no room for what the system loads the library from
            self.result = CacheResult("miss", str(error))
            return None
        except (TGraphError, OSError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
            warnings.warn(f"the compile cache has a damaged entry, which is compiled again: {error}", stacklevel=3)
            self.result = CacheResult("miss", "the entry was damaged")
            with contextlib.suppress(OSError):
                self.path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # used last
        self.result = CacheResult("hit", f"compiled on {made}")
        return compiled

    def keep(self, compiled: Compiled) -> None:
        """Link the library, and write it and what goes with it; a failure is a warning, and is noted in `result`."""
        if self.path is None:
            return
        try:
            try:
                self._write(self.path, compiled)
            except DiskError as error:
                if not _make_room(self.path.parent, error):
                    raise
                self._write(self.path, compiled)
            _evict(self.path.parent, keep=self.path)
        except (CompileError, OSError) as error:
            self.result = CacheResult("off", str(error))
            _warn_once(type(error), str(error))

    def _write(self, path: Path, compiled: Compiled) -> None:
        write_archive(path, {**code_entries(compiled), **constant_entries(compiled)}, {
            "tgraph": VERSION, "facts": self.facts, "signatures": signatures(compiled.kernels, compiled.plans),
            "time": time.time(),
            "records": {name: [{**asdict(r), "rewrites": dict(r.rewrites)} for r in records]
                        for name, records in compiled.records.items()},
        })


def cache_folder() -> Path | None:
    """Where entries are kept; None if the cache is off."""
    import platformdirs

    folder = os.environ.get(FOLDER, "")
    return None if folder == "off" else Path(folder) if folder else platformdirs.user_cache_path("tgraph") / "compiled"


def find_entry(program: Program, passes: Sequence[Pass], target: Target, options: Mapping[str, str] | None) -> CacheEntry:
    """The entry of a compilation. `options`: the other arguments of `compile` as text; None if nothing is to be kept."""
    folder = cache_folder()
    off = f"{FOLDER} is off" if folder is None else "not wanted" if options is None else foreign_code(program, passes, target)
    if folder is None or options is None or off is not None:
        return CacheEntry(None, target, {}, CacheResult("off", off or ""))
    machine = [sorted(v) if isinstance(v, frozenset) else v for k, v in vars(target).items() if k != "schedules"]
    facts = {
        "graph": program.fingerprint,
        "source lines": _digest(program.text(scopes=True, locations=True)),
        "passes": ",".join(map(str, passes)),
        "target": str(target),
        "description of the target": _digest(repr(machine)),
        "tuned kernels": _digest(repr(sorted((k, sorted(v.items())) for k, v in target.schedules.entries.items()))),
        **options,
        **backend_of(target).facts(target),
        "TVM": tvm_version(),
        "tgraph": f"{VERSION} {source_digest()[:16]}",
    }
    return CacheEntry(folder / f"{facts['graph'][:16]}-{_digest(json.dumps(facts))}.tgc", target, facts,
                 CacheResult("miss", ""))


def _warn_once(kind: type[Exception], problem: str) -> None:
    """Warn of a problem, once in a process for each kind: it is likely to stay."""
    if kind in _WARNED:
        return
    _WARNED.add(kind)
    warnings.warn(f"compiled graphs are not kept for the next time ({FOLDER}=off: none is to be kept): {problem}", stacklevel=4)


def entries(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """All entries, the one used last first."""
    found = []
    for path in folder.glob("*.tgc"):
        with contextlib.suppress(OSError):  # another process may have removed it
            found.append((path, path.stat()))
    return sorted(found, key=lambda entry: -entry[1].st_mtime)


def facts_of(path: Path) -> dict[str, str]:
    """The facts that an entry depends on. Raises FormatError or OSError for a file that is none."""
    return dict(Archive(path, FIELDS).manifest["facts"])


def _nearest(path: Path, facts: Mapping[str, str]) -> str:
    """How the most similar entry of the same graph differs from one that is not there."""
    best: list[str] | None = None
    for other_path in path.parent.glob(f"{facts['graph'][:16]}-*.tgc"):
        with contextlib.suppress(TGraphError, OSError, LookupError, TypeError, ValueError):
            other = facts_of(other_path)
            different = [f"{k} ({facts.get(k, 'none')}; there {other.get(k, 'none')})" if k in SHOWN else k
                         for k in {**facts, **other} if facts.get(k) != other.get(k)]
            best = different if best is None else min(best, different, key=len)
    return "this graph was not compiled before" if best is None else f"the nearest entry differs in {', '.join(best)}"


def _evict(folder: Path, keep: Path) -> None:
    """Remove the entries used longest ago until the rest fits in LIMIT, and what killed processes have not finished."""
    remove_stale(folder, f".*.tgc{PARTIAL}")
    total = 0
    for path, status in entries(folder):
        total += status.st_size
        if total > LIMIT and path != keep:
            with contextlib.suppress(OSError):
                path.unlink()


def _make_room(folder: Path, error: DiskError) -> bool:
    """Remove the entries used longest ago, as many bytes as found no room, if they lie on the disk that is full."""
    with contextlib.suppress(OSError):
        if error.errno == errno.EFBIG or folder.stat().st_dev != Path(error.folder).stat().st_dev:
            return False
    freed = 0
    for path, status in reversed(entries(folder)):
        if freed >= (error.needed or 0) + SLACK:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            freed += status.st_size
    return freed > 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
