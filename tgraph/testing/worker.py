"""Worker processes: each examines some programs at a time, and may die of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import tgraph as tg
from tgraph.testing.examination import examine
from tgraph.testing.findings import Finding, Outcome
from tgraph.testing.ways import COMPILED, WAYS

LIFETIME = 500  # compiled programs a process: executables leave mappings behind
GUILTY = -1  # in the place of a seed: one of the programs has been found to be lost by itself
STARTING = 30.0  # seconds that a process may take besides until it has loaded what it needs


@dataclass(frozen=True)
class Job:
    """`count` programs from a seed on, examined together; or one, as text, whose feeds have that seed."""

    seed: int
    text: str = ""
    ways: tuple[str, ...] = WAYS
    ops: tuple[str, ...] = ()
    count: int = 1

    def apart(self) -> list[Job]:
        """A job for each program."""
        return [replace(self, seed=self.seed + i, count=1) for i in range(self.count)]


Examine = Callable[[Mapping[int, tg.Graph], Collection[str], Callable[[str], None]], Mapping[int, Outcome]]


def serve(connection: Connection, log: str, examine: Examine, setup: Callable[[], object] | None) -> None:
    """The body of a worker process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    tempfile.tempdir = str(Path(log).parent)  # what a process that is killed leaves goes with the pool
    os.environ.update(TGRAPH_CACHE="off", TGRAPH_TUNING="off", TMPDIR=tempfile.tempdir)
    from tgraph.testing.generator.program import program

    warnings.simplefilter("ignore")
    if setup is not None:
        setup()
    while True:
        with suppress(EOFError):
            job: Job = connection.recv()
            os.ftruncate(descriptor, 0)
            connection.send("generation")
            if job.text:
                programs = {job.seed: tg.parse(job.text)}
            else:
                programs = {seed: program(seed, job.ops) for seed in range(job.seed, job.seed + job.count)}
                connection.send({seed: (str(graph), len(graph)) for seed, graph in programs.items()})
            connection.send(("done", examine(programs, job.ways, connection.send)))
            continue
        return


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """A context in which Ctrl-C waits; processes that begin in it never see one, even before they could ignore it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Worker:
    """One process and the job that it does."""

    folder: Path
    limit: float  # seconds of CPU time for one job; ten times as many may pass on the clock
    examine: Examine = examine
    setup: Callable[[], object] | None = None
    job: Job | None = None
    step: str = ""
    programs: dict[int, tuple[str, int]] = field(default_factory=dict)  # text and number of nodes, by seed
    started: float = 0.0
    before: float = 0.0
    done: int = 0
    process: Any = field(default=None, repr=False)
    connection: Any = field(default=None, repr=False)

    def start(self, job: Job) -> None:
        """Give a job to the process, a new one if the last is dead or old."""
        if self.process is None or not self.process.is_alive() or self.done >= LIFETIME:
            self.close()
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["tgraph.testing.preload"])  # so that a new process need not import anything
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, str(self.log), self.examine, self.setup), daemon=True)
            with interrupts_blocked():
                self.process.start()
            theirs.close()
            self.done = 0
        self.job, self.step = job, "start"
        self.programs = {job.seed: (job.text, 0)} if job.text else {}
        self.started, self.before = time.monotonic(), self._used()
        self.done += job.count if set(job.ways) & set(COMPILED) else 0
        self.connection.send(job)

    @property
    def log(self) -> Path:
        return self.folder / f"worker{id(self)}.log"

    def poll(self) -> Mapping[int, Outcome] | None:
        """What has come of the job's programs, if it is over: done, dead or out of time."""
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, tuple):
                    return message[1]
                if isinstance(message, dict):
                    self.programs = message
                else:
                    self.step = message
                    if message == "generation":  # from here on it is the programs' time, not that of imports
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

    def _lost(self, kind: str, detail: str) -> dict[int, Outcome]:
        assert self.job is not None
        found = {}
        for job in self.job.apart():
            _, nodes = self.programs.get(job.seed, ("", 0))
            found[job.seed] = Outcome(nodes, [Finding(kind, self.step.split(" ")[0], detail)])
        return found

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
    """Workers that share a stream of jobs. `setup` is called in each process first: it may import plug-ins."""

    def __init__(self, count: int, limit: float = 60.0, examine: Examine = examine, setup: Callable[[], object] | None = None):
        self._folder = tempfile.TemporaryDirectory(prefix="tgraph-fuzz-", ignore_cleanup_errors=True)
        self.workers = [Worker(Path(self._folder.name), limit, examine, setup) for _ in range(count)]

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, str, Outcome]]:
        """A job of one program each, with the program's text and what came of it, in the order in which they end.

        Programs that end a process, or do not end, are examined again one by one, so that the guilty one is known.
        """
        waiting, again = iter(jobs), Again()
        idle = list(self.workers)
        busy: list[Worker] = []
        more = True
        while more or busy or again.jobs:
            while idle and (again.jobs or more):
                job = again.jobs.pop() if again.jobs else next(waiting, None)
                if job is None:
                    more = False
                    continue
                worker = idle.pop()
                worker.start(job)
                busy.append(worker)
            wait([w.connection for w in busy], timeout=0.5)
            for worker in list(busy):
                outcomes = worker.poll()
                if outcomes is None:
                    continue
                busy.remove(worker)
                idle.append(worker)
                assert worker.job is not None
                if worker.job.count > 1 and all(_is_lost(o) for o in outcomes.values()):
                    again.add(worker.job, next(iter(outcomes.values())))
                    continue
                for job in worker.job.apart():
                    outcome = outcomes[job.seed]
                    again.judge(job, outcome)
                    yield job, outcome.company or worker.programs.get(job.seed, ("", 0))[0], outcome

    def ask(self, job: Job) -> Outcome:
        """A job of one program."""
        return next(iter(self.run([job])))[2]

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self._folder.cleanup()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Again:
    """Programs that were lost together, to be examined one by one; if none is lost so, all of them together are guilty."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._lost: dict[int, tuple[set[int], Outcome]] = {}  # by seed: those that were lost together, and how

    def add(self, job: Job, outcome: Outcome) -> None:
        left = {one.seed for one in job.apart()}
        self._lost.update((seed, (left, outcome)) for seed in left)
        self.jobs += reversed(job.apart())

    def judge(self, job: Job, outcome: Outcome) -> None:
        """Note that a program has been examined; the last one of several of which none is lost gets the finding."""
        if job.seed not in self._lost:
            return
        left, together = self._lost.pop(job.seed)
        left.discard(job.seed)
        if outcome.findings:
            left.add(GUILTY)
        if not left:
            outcome.findings += [replace(f, detail=f"beside others of seeds before, but not by itself: {f.detail}")
                                 for f in together.findings]


def _is_lost(outcome: Outcome) -> bool:
    return any(f.kind in ("crash", "hang") for f in outcome.findings)


def ways_of(finding: Finding) -> tuple[str, ...]:
    """The ways to go to see a finding again."""
    return (finding.step,) if finding.step in WAYS else ()
