"""A simulated fleet: workers over nodes embed documents in parts, out of and into shared storage, and some of them fail.

It is that of `tgraph.batch`: the input is cut into parts of so many rows; a worker, a process of one core, takes a part, reads
it, computes, writes it with its vectors, and takes the next; a node fetches the bundle once, and its workers map it. What is
written is done; a part whose worker or node is lost goes back and is done anew by whoever is free. At the end one process makes
one file of all parts, which it reads and writes.

Storage and each node's link serve one transfer after the other, at their full rate, which takes as long in all as sharing it. A
worker computes nothing while it reads or writes.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Steps = Generator[Any, Any, None]
FOREVER = math.inf


@dataclass(frozen=True)
class Job:
    """What is to be done. part: documents of a part. seconds: of a worker of speed 1 for a document, tokenizing and Parquet
    included; part_seconds: for a part besides. bytes_in, bytes_out: of a document. bundle: bytes; start: seconds until a worker
    has loaded it. join: seconds for a document when one file is made of all parts; 0: they stay as they are.
    """

    documents: int
    part: int
    seconds: float
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    bundle: float = 0.0
    start: float = 0.0
    part_seconds: float = 0.0
    join: float = 0.0

    @property
    def parts(self) -> int:
        return math.ceil(self.documents / self.part)

    def rows(self, part: int) -> int:
        """Documents of a part; the last one may be short."""
        return min(self.part, self.documents - part * self.part)


@dataclass(frozen=True)
class Fleet:
    """Who does it. workers: of a node. speeds: of nodes, in turn. jitter: standard deviation of the logarithm of a part's time.

    storage and network (of a node's link): bytes a second; latency: seconds until a request of storage is answered. worker_mtbf,
    node_mtbf: mean seconds between failures of one (exponentially distributed); repair: seconds until a node is back.
    """

    nodes: int
    workers: int
    speeds: Sequence[float] = (1.0,)
    jitter: float = 0.0
    storage: float = FOREVER
    network: float = FOREVER
    latency: float = 0.0
    worker_mtbf: float = FOREVER
    node_mtbf: float = FOREVER
    repair: float = 300.0

    @property
    def cores(self) -> int:
        return self.nodes * self.workers

    @property
    def speed(self) -> float:
        """Of all workers together, that of a usual one being 1."""
        return sum(self.speed_of(node) for node in range(self.nodes)) * self.workers

    def joining(self, job: Job) -> float:
        """Seconds until one process has made one file of all parts."""
        if not job.join:
            return 0.0
        return job.documents * (job.join + 2 * job.bytes_out / min(self.storage, self.network))

    def speed_of(self, node: int) -> float:
        return self.speeds[node % len(self.speeds)]


@dataclass(frozen=True)
class Outcome:
    """seconds: until all was written. finished: how often each part was. spent: worker-seconds by what they went into."""

    job: Job
    fleet: Fleet
    seconds: float
    finished: Counter[int]
    spent: Mapping[str, float] = field(default_factory=dict)
    failures: int = 0

    @property
    def documents_per_hour(self) -> float:
        return self.job.documents / self.seconds * 3600

    @property
    def efficiency(self) -> float:
        """The share of the workers' time in which they computed what counted."""
        return self.job.documents * self.job.seconds / self.fleet.speed / self.seconds

    @cached_property
    def losses(self) -> dict[str, float]:
        """Shares of the workers' time that were not computing, by cause, the largest first."""
        whole = self.seconds * self.fleet.cores
        shares = {kind: seconds / whole for kind, seconds in self.spent.items() if kind != "computing"}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def bounds(job: Job, fleet: Fleet) -> dict[str, float]:
    """Seconds that no order of parts can go below, by what they are needed for."""
    data = job.documents * (job.bytes_in + job.bytes_out)
    return {"computing": job.documents * job.seconds / fleet.speed,
            "storage": (data + fleet.nodes * job.bundle) / fleet.storage,
            "links": (data / fleet.nodes + job.bundle) / fleet.network,
            "joining": fleet.joining(job),
            "starting": job.bundle / fleet.storage + job.bundle / fleet.network + job.start / max(fleet.speeds)}


def simulate(job: Job, fleet: Fleet, seed: int = 0) -> Outcome:
    """One run. The same seed gives the same run."""
    return _Run(job, fleet, seed).outcome()


class _Node:
    def __init__(self, env: Any, speed: float, link: Any):
        self.speed, self.link = speed, link
        self.ready = env.event()  # has the bundle
        self.workers: list[_Worker] = []


class _Worker:
    """at_work: may fail. part: the one in hand. now: seconds that went into it, by kind."""

    def __init__(self, node: _Node):
        self.node, self.at_work = node, False
        self.part: int | None = None
        self.now: dict[str, float] = {}
        self.process: Any = None


class _Run:
    def __init__(self, job: Job, fleet: Fleet, seed: int):
        import simpy

        self.job, self.fleet, self.random = job, fleet, random.Random(seed)
        self.env, self.Interrupt = simpy.Environment(), simpy.Interrupt
        self.storage = simpy.Resource(self.env)
        self.waiting = deque(range(job.parts))
        self.finished: Counter[int] = Counter()
        self.spent: dict[str, float] = {}
        self.failures = 0
        self.over, self.returned = self.env.event(), self.env.event()
        self.nodes = [_Node(self.env, fleet.speed_of(n), simpy.Resource(self.env)) for n in range(fleet.nodes)]

    def outcome(self) -> Outcome:
        if self.job.parts == 0:
            return Outcome(self.job, self.fleet, 0.0, self.finished)
        for node in self.nodes:
            self.env.process(self._fetch(node))
            node.workers = [_Worker(node) for _ in range(self.fleet.workers)]
            for worker in node.workers:
                worker.process = self.env.process(self._live(worker))
                if self.fleet.worker_mtbf < FOREVER:
                    self.env.process(self._fail(self.fleet.worker_mtbf, [worker]))
            if self.fleet.node_mtbf < FOREVER:
                self.env.process(self._fail(self.fleet.node_mtbf, node.workers, node))
        self.env.run(until=self.over)
        whole = self.env.now * self.fleet.cores
        self.spent["waiting for the last parts"] = max(0.0, whole - sum(self.spent.values()))
        joining = self.fleet.joining(self.job)
        self.spent["waiting for one file of all parts"] = joining * self.fleet.cores
        return Outcome(self.job, self.fleet, self.env.now + joining, self.finished, self.spent, self.failures)

    def _fetch(self, node: _Node) -> Steps:
        """The bundle, to a node."""
        yield from self._transfer(node, self.job.bundle)
        node.ready.succeed()

    def _transfer(self, node: _Node, amount: float) -> Steps:
        yield self.env.timeout(self.fleet.latency)
        for resource, rate in ((self.storage, self.fleet.storage), (node.link, self.fleet.network)):
            if amount and rate < FOREVER:
                with resource.request() as turn:
                    yield turn
                    yield self.env.timeout(amount / rate)

    def _live(self, worker: _Worker) -> Steps:
        """A worker, and those that come in its place."""
        while True:
            try:
                yield from self._timed(worker, "waiting for the bundle", self._until(worker.node.ready))
                worker.at_work = True
                yield from self._serve(worker)
            except self.Interrupt:
                worker.at_work = False
                self._count(worker, "computing again")
                if worker.part is not None:
                    self.waiting.append(worker.part)
                    worker.part = None
                    self.returned, old = self.env.event(), self.returned
                    old.succeed()

    def _serve(self, worker: _Worker) -> Steps:
        yield from self._timed(worker, "starting", self._compute(worker, self.job.start))
        self._count(worker)
        while True:
            if not self.waiting:
                yield self.returned
                continue
            worker.part = self.waiting.popleft()
            rows = self.job.rows(worker.part)
            yield from self._timed(worker, "reading", self._transfer(worker.node, rows * self.job.bytes_in))
            jitter = self.random.lognormvariate(-self.fleet.jitter ** 2 / 2, self.fleet.jitter) if self.fleet.jitter else 1.0
            yield from self._timed(worker, "computing", self._compute(worker, rows * self.job.seconds * jitter))
            yield from self._timed(worker, "opening parts", self._compute(worker, self.job.part_seconds))
            yield from self._timed(worker, "writing", self._transfer(worker.node, rows * self.job.bytes_out))
            self._count(worker)
            self.finished[worker.part] += 1
            worker.part = None
            if len(self.finished) == self.job.parts:
                self.over.succeed()
                return

    def _until(self, event: Any) -> Steps:
        yield event

    def _compute(self, worker: _Worker, seconds: float) -> Steps:
        yield self.env.timeout(seconds / worker.node.speed)

    def _timed(self, worker: _Worker, kind: str, steps: Steps) -> Steps:
        start = self.env.now
        try:
            yield from steps
        finally:
            worker.now[kind] = worker.now.get(kind, 0.0) + self.env.now - start

    def _count(self, worker: _Worker, instead: str | None = None) -> None:
        """What a worker did is spent, by its kinds or all of it `instead`."""
        for kind, seconds in worker.now.items():
            self.spent[instead or kind] = self.spent.get(instead or kind, 0.0) + seconds
        worker.now.clear()

    def _fail(self, mtbf: float, workers: Sequence[_Worker], node: _Node | None = None) -> Steps:
        """Stop workers again and again; with their node, they come back after its repair, and when it has the bundle again."""
        while True:
            yield self.env.timeout(self.random.expovariate(1 / mtbf))
            if node is not None:
                if not node.ready.triggered:
                    continue
                node.ready = self.env.event()
            stopped = [worker for worker in workers if worker.at_work]
            self.failures += bool(stopped)
            for worker in stopped:
                worker.process.interrupt()
            if node is not None:
                yield self.env.timeout(self.fleet.repair)
                yield from self._fetch(node)
