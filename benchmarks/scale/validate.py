"""The simulation beside the machine that its figures are of: the same documents, by the same number of workers."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.harness.busy import BUSY, busy_share
from benchmarks.records import RESULTS
from benchmarks.scale.documents import documents, natural_lengths, write_parts
from benchmarks.scale.figures import Figures, answer, child, save_bundle
from benchmarks.scale.fleet import Fleet, simulate

LONGEST = 256
NAME = "scale-validation.json"


@dataclass(frozen=True)
class Comparison:
    """wall: seconds from the start of the first process to the end of the last; worked: of the processor, of all workers.

    simulated, simulated_work: the same as the simulation has them. busy: the share of the machine that others used before.
    """

    model: str
    workers: int
    documents: int
    mean_length: float
    part: int
    wall: float
    simulated: float
    worked: float
    simulated_work: float
    busy: float

    @property
    def under_load(self) -> bool:
        return self.busy > BUSY


def validate(figures: Figures, model: str, count: int, mean: float, part: int,
             progress: Callable[[str], None]) -> list[Comparison]:
    """One worker, and one on each core. Raises CalledProcessError if a worker fails."""
    from tokenizers import Tokenizer

    from tgraph.models.sentence import minilm_folder

    lengths = natural_lengths(count, mean, LONGEST)
    file = minilm_folder() / "tokenizer.json"
    allowed = sorted(os.sched_getaffinity(0))
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress("documents and bundle")
        (folder / "parts").mkdir()
        write_parts(folder / "parts", documents(Tokenizer.from_file(str(file)), lengths), part)
        bundle = save_bundle(model, folder)
        for cores in (allowed[:1], allowed):
            progress(f"{len(cores)} workers")
            vectors = folder / f"vectors{len(cores)}"
            vectors.mkdir()
            busy, begun = busy_share(1.0), time.perf_counter()
            workers = [child("worker", bundle, file, folder / "parts", vectors, core) for core in cores]
            replies = [answer(worker) for worker in workers]
            wall = time.perf_counter() - begun
            assert sum(reply["rows"] for reply in replies) == count
            job = figures.job(model, count, lengths, part)
            if len(cores) == 1:  # nobody is at work beside it
                alone = figures.call_seconds(model, lengths).mean() * (1 - 1 / figures.together[model])
                job = replace(job, seconds=job.seconds - float(alone))
            run = simulate(job, Fleet(1, len(cores)))
            idle = run.spent["waiting for the last parts"]
            found.append(Comparison(model, len(cores), count, float(lengths.mean()), part, wall, run.seconds,
                                    sum(reply["all_cpu"] for reply in replies), run.seconds * len(cores) - idle, busy))
    return found


def save(figures: Figures, found: Sequence[Comparison], folder: Path = RESULTS) -> Path:
    path = folder / figures.machine.name / NAME
    path.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return path


def load(figures: Figures, folder: Path = RESULTS) -> list[Comparison]:
    path = folder / figures.machine.name / NAME
    return [Comparison(**values) for values in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
