"""Many inputs for one parser, by coverage (atheris) or at random, and the faults that they show."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.hostile.oracle import Fault, judge
from tests.hostile.parser import Parser
from tests.hostile.sandbox import guard

WARM = 100  # seeds of each parser that are read first
MEMORY = 2**30  # bytes that all inputs together may take besides what is there at the start


@dataclass
class Campaign:
    """The inputs of one parser, each a file in a folder that is used again.

    faults: the first input that showed each; it is written to the folder `out`. kept: a folder for inputs that reach new code,
    and for the number of executions, from which another run goes on.
    """

    name: str
    parser: Parser
    folder: Path
    out: Path | None = None
    seed: int = 0
    kept: Path | None = None
    faults: dict[Fault, bytes] = field(default_factory=dict)
    executions: int = 0

    def __post_init__(self) -> None:
        self.folder = self.folder / "inside"
        self.folder.mkdir()
        self.parser.prepare(self.folder)

    def run(self, data: bytes) -> Fault | None:
        """Judge one input."""
        path = self.folder / self.parser.file
        self.parser.write(path, data)
        guard()
        fault = judge(self.parser.read, path)
        self.executions += 1
        if fault is not None and fault not in self.faults:
            self.faults[fault] = data
            print(f"{self.name}, execution {self.executions}: {fault}, {len(data)} bytes", flush=True)
            if self.out is not None:
                name = f"{self.name}-{self.seed}-{len(self.faults)}-{fault.kind}"
                self.out.mkdir(parents=True, exist_ok=True)
                (self.out / name).write_bytes(data)
                (self.out / f"{name}.txt").write_text(f"{fault}\n\n{fault.trace}", errors="replace")
        return fault

    def warm(self) -> None:
        """Read sound files, so that modules are imported before anything is watched."""
        for data in self.parser.seeds()[:WARM]:
            path = self.folder / self.parser.file
            self.parser.write(path, data)
            try:
                self.parser.read(path)
            except Exception:
                if self.parser.accepts:
                    raise

    def report(self, seconds: float) -> None:
        print(f"{self.name}: {self.executions} executions, {len(self.faults)} faults, {seconds:.1f} s of CPU time", flush=True)


def at_random(campaign: Campaign, runs: int, seed: int) -> None:
    """What one to three steps of the parser's own changes make of the seeds."""
    seeds, random = list(campaign.parser.seeds()), Random(seed)
    for _ in range(runs):
        data = random.choice(seeds)
        for _ in range(random.choice((1, 1, 2, 3))):
            data = campaign.parser.mutate(data, random)
        campaign.run(data)


def by_coverage(campaign: Campaign, runs: int, seed: int, seconds: float, done: Callable[[], None]) -> None:
    """libFuzzer's loop, which keeps what reaches new code, for so many runs or seconds of CPU time.

    It does not return: the process ends after `done`.
    """
    import atheris

    start = time.process_time()
    corpus = campaign.kept or Path(tempfile.mkdtemp(prefix="corpus-", dir=campaign.folder.parent))
    corpus.mkdir(parents=True, exist_ok=True)
    count = corpus.with_name(f"{corpus.name}.executions")
    before = int(count.read_text()) if count.exists() else 0
    known = len(list(corpus.iterdir())) if before else 0  # which are read again first, and count once
    for number, data in enumerate(campaign.parser.seeds()):
        (corpus / str(number)).write_bytes(data)

    def one(data: bytes) -> None:
        campaign.run(data)
        total = before + max(campaign.executions - known, 0)
        ends = total >= runs or elapsed(start) >= seconds
        if campaign.kept is not None and (ends or campaign.executions % 1000 == 0):
            count.write_text(str(total))
        if ends:
            done()
            print(f"{campaign.name}: {total} executions with those before", flush=True)
            os._exit(bool(campaign.faults))

    def change(data: bytes, size: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < 0.4:
            return atheris.Mutate(data, size)
        return campaign.parser.mutate(data, random)[:size]

    largest = max(map(len, campaign.parser.seeds()))
    atheris.Setup(["fuzz", f"-seed={seed + before + 1}", f"-max_len={4 * largest + 1000}", "-timeout=1000", "-rss_limit_mb=0",
                   "-verbosity=0", "-print_final_stats=0", str(corpus)], one, custom_mutator=change)
    atheris.Fuzz()


def elapsed(start: float) -> float:
    """Seconds of CPU time since then."""
    return time.process_time() - start
