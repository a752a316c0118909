"""Worker processes: each examines one program at a time, and may die of it."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import tgraph as tg
from tests.fuzz.trial import LEVELS, Finding, Outcome, examine

LIFETIME = 250  # programs a process: executables leave mappings behind
ALL_STEPS = (*LEVELS, "torch")

STARTING = 30.0  # seconds that a process may take besides until it has loaded what it needs


@dataclass(frozen=True)
class Job:
    """A program, as a seed or as text, the seed of its feeds, and what to do with it."""

    seed: int
    text: str = ""
    steps: tuple[str, ...] = ALL_STEPS
    ops: tuple[str, ...] = ()


Examine = Callable[["tg.Graph", int, Sequence[str], Callable[[str], None]], Outcome]


def serve(connection: Connection, log: str, examine: Examine) -> None:
    """The body of a worker process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(TGRAPH_CACHE="off", TGRAPH_TUNING="off")
    from tests.fuzz.program import program

    warnings.simplefilter("ignore")
    while True:
        with suppress(EOFError):
            job: Job = connection.recv()
            os.ftruncate(descriptor, 0)
            connection.send("generation")
            graph = tg.parse(job.text) if job.text else program(job.seed, job.ops)
            if not job.text:
                connection.send(("text", str(graph), len(graph)))
            connection.send(examine(graph, job.seed, job.steps, connection.send))
            continue
        return


@dataclass
class Worker:
    """One process and the job that it does."""

    folder: Path
    limit: float  # seconds of CPU time for one job; ten times as many may pass on the clock
    examine: Examine = examine
    job: Job | None = None
    step: str = ""
    text: str = ""
    nodes: int = 0
    started: float = 0.0
    before: float = 0.0
    done: int = 0
    process: Any = field(default=None, repr=False)
    connection: Any = field(default=None, repr=False)

    def start(self, job: Job) -> None:
        """Give a job to the process, a new one if the last is dead or old."""
        if self.process is None or not self.process.is_alive() or self.done >= LIFETIME:
            self.close()
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, str(self.log), self.examine), daemon=True)
            self.process.start()
            theirs.close()
            self.done = 0
        self.job, self.step, self.text, self.nodes = job, "start", job.text, 0
        self.started, self.before = time.monotonic(), self._used()
        self.done += 1
        self.connection.send(job)

    @property
    def log(self) -> Path:
        return self.folder / f"worker{id(self)}.log"

    def poll(self) -> Outcome | None:
        """What has come of the job, if it is over: done, dead or out of time."""
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, Outcome):
                    return message
                if isinstance(message, tuple):
                    _, self.text, self.nodes = message
                else:
                    self.step = message
                    if message == "generation":  # from here on it is the program's time, not that of imports
                        self.started, self.before = time.monotonic(), self._used()
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            return self._lost("crash", self._death())
        if not self.process.is_alive() and not self.connection.poll():
            return self._lost("crash", self._death())
        limit = self.limit + (STARTING if self.step == "start" else 0.0)
        if self._used() - self.before > limit or time.monotonic() - self.started > 10 * limit:
            self.process.kill()
            self.process.join(5)
            return self._lost("hang", f"no end of {self.step} within {self.limit:.0f} s")
        return None

    def _used(self) -> float:
        """CPU seconds of the process so far, where the system tells (Linux); else seconds on the clock."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return time.monotonic()

    def _lost(self, kind: str, detail: str) -> Outcome:
        return Outcome(self.nodes, [Finding(kind, self.step.split(" ")[0], detail)])

    def _death(self) -> str:
        code = self.process.exitcode
        said = self.log.read_text(errors="replace").strip().split("\n") if self.log.exists() else []
        name = f"signal {-code}" if code is not None and code < 0 else f"exit {code}"
        return f"{name} in {self.step}: " + "\n".join(said[-6:])

    def close(self) -> None:
        if self.process is not None:
            self.connection.close()
            self.process.join(0.2)
            if self.process.is_alive():
                self.process.kill()
                self.process.join(5)
            self.process = None


class Pool:
    """Workers that share a stream of jobs."""

    def __init__(self, count: int, limit: float = 60.0, examine: Examine = examine):
        self._folder = tempfile.TemporaryDirectory(prefix="tgraph-fuzz-")
        self.workers = [Worker(Path(self._folder.name), limit, examine) for _ in range(count)]

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, str, Outcome]]:
        """Each job with the text of its program and what came of it, in the order in which they end."""
        waiting = iter(jobs)
        idle, busy = list(self.workers), []
        more = True
        while more or busy:
            while idle and more:
                job = next(waiting, None)
                if job is None:
                    more = False
                    break
                worker = idle.pop()
                worker.start(job)
                busy.append(worker)
            wait([w.connection for w in busy], timeout=0.5)
            for worker in list(busy):
                outcome = worker.poll()
                if outcome is not None:
                    busy.remove(worker)
                    idle.append(worker)
                    assert worker.job is not None
                    yield worker.job, worker.text, outcome

    def ask(self, job: Job) -> Outcome:
        """One job."""
        return next(iter(self.run([job])))[2]

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self._folder.cleanup()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def steps_of(finding: Finding) -> Sequence[str]:
    """The steps to repeat to see a finding again."""
    return (finding.step,) if finding.step in ALL_STEPS else ()
