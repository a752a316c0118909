"""How long it takes until a model has answered: making it ready (after the imports), and the first call. A process each time."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from benchmarks.harness.contender import Contender, ContenderError
from benchmarks.harness.job import Job
from benchmarks.harness.lineup import Entry
from benchmarks.harness.peers import peer_of
from benchmarks.harness.report import save_feeds
from benchmarks.harness.turns import quartiles, wait_until_quiet
from benchmarks.records import OURS, Record, Row
from benchmarks.workload import Setup, Workload, at_sizes, save_model
from tgraph.cli.models import load_graph

SIZES = {"B": 1, "S": 128}
SLOW = ("torch.compile", "torch.max-autotune")  # from half a minute to minutes a process: one will do


@dataclass(frozen=True, kw_only=True)
class StartupWorkload(Workload):
    """Points are models. Its rows hold the seconds until a model is ready; `first`, those of its first call.

    tgraph compiles with an empty cache, then with what that left there, then loads a bundle. A peer makes a session, or what
    it calls so; torch.compile compiles in its first call, its cache empty too.
    """

    def measure(self, setup: Setup, points: Sequence[str]) -> Iterator[Record]:
        for point in points:
            with tempfile.TemporaryDirectory() as name:
                yield self._point(point, setup, Path(name))

    def _point(self, model: str, setup: Setup, folder: Path) -> Record:
        graph = load_graph(model)
        job = Job(str(save_model(graph, folder)), str(folder), setup.threads, peer=peer_of(model))
        feeds = save_feeds(folder / "feeds.npz", at_sizes(graph, SIZES).plans[""][0])
        refused: dict[str, str] = {}
        bundle = self._bundle(job, folder, setup, refused)
        found: dict[str, list[_Start]] = {}
        for number in range(setup.rounds or self.points[model]):
            caches = {"TGRAPH_CACHE": str(folder / f"cache{number}"), "TORCHINDUCTOR_CACHE_DIR": str(folder / f"torch{number}")}
            entries = [Entry(OURS, OURS, job, caches), Entry(f"{OURS}, compiled before", OURS, job, caches)]
            if bundle is not None:
                entries.append(Entry(f"{OURS}, bundle", OURS, replace(job, model=str(bundle)), caches))
            entries += [Entry(peer, peer, job, caches) for peer in setup.peers if number == 0 or peer not in SLOW]
            for entry in entries:
                setup.progress(f"{self.name} {model}: {entry.name}, process {number + 1}")
                try:
                    found.setdefault(entry.name, []).append(_start(entry, folder, setup.busy, feeds))
                except ContenderError as error:
                    if entry.name == OURS:
                        raise
                    refused[entry.name] = str(error)
        rows = [_row(name, starts) for name, starts in found.items()]
        return Record(self.name, model, setup.machine, rows, left_out=refused, date=date.today().isoformat())

    @staticmethod
    def _bundle(job: Job, folder: Path, setup: Setup, refused: dict[str, str]) -> Path | None:
        """The model as `tgraph compile` saves it."""
        setup.progress("saving a bundle")
        path = folder / "model.tgc"
        done = subprocess.run([sys.executable, "-m", "tgraph", "compile", job.model, "-o", str(path)], capture_output=True,
                              text=True, cwd=Path(__file__).parents[1])
        if done.returncode == 0:
            return path
        refused[f"{OURS}, bundle"] = done.stderr.strip()
        return None


@dataclass(frozen=True)
class _Start:
    created: float
    first: float
    peak: int | None
    note: str


def _start(entry: Entry, folder: Path, busy: bool, feeds: Path) -> _Start:
    """One process from its imports to its first call, and a second call for the memory."""
    contender = Contender(entry.name, folder, entry.job.threads, busy, entry.runtime, entry.environment)
    try:
        contender.load(entry.job)
        wait_until_quiet([contender])
        reply = contender.ask(do="feed", plans={"": [str(feeds)]}, outputs=str(folder / "outputs.npz"))
        return _Start(contender.created, reply["first"], contender.ask(do="run", calls=1)["peak"], contender.note)
    finally:
        contender.close()


def _row(name: str, starts: Sequence[_Start]) -> Row:
    created = [start.created for start in starts]
    low, high = quartiles(created)
    return Row(name, statistics.median(created), low, high, created, len(created), starts[-1].note,
               first=statistics.median(start.first for start in starts), peak=starts[-1].peak)
