"""The simulation beside the machine that its figures are of: the same documents, by the same number of workers."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.documents import documents, natural_lengths
from benchmarks.harness.busy import BUSY, busy_share, cores
from benchmarks.scale.documents import padded, write_parts
from benchmarks.scale.figures import RESULTS, Figures, answer, child, save_bundle
from benchmarks.scale.fleet import Fleet, simulate

LONGEST = 256
NAME = "scale-validation.json"


@dataclass(frozen=True)
class Comparison:
    """A real run. wall: seconds from the start of the first process to the end of the last; worked: of the processor, of all
    workers. busy: the share of the machine that others used before.
    """

    model: str
    workers: int
    documents: int
    mean_length: float
    part: int
    wall: float
    worked: float
    busy: float

    @property
    def under_load(self) -> bool:
        return self.busy > BUSY

    def simulated(self, figures: Figures) -> tuple[float, float]:
        """Seconds, and seconds of all workers, as the simulation has them."""
        lengths = natural_lengths(self.documents, self.mean_length, LONGEST)
        job = replace(figures.job(self.model, self.documents, lengths, self.part), join=0.0, bytes_in=0.0, bytes_out=0.0)
        if self.workers == 1:  # nobody is at work beside it
            alone = figures.call_seconds(self.model, padded(lengths, self.part)).mean() * (1 - 1 / figures.together[self.model])
            job = replace(job, seconds=job.seconds - float(alone))
        run = simulate(job, Fleet(1, self.workers))
        return run.seconds, run.seconds * self.workers - run.spent["waiting for the last parts"]


def validate(model: str, count: int, mean: float, part: int, progress: Callable[[str], None]) -> list[Comparison]:
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
        for chosen in (allowed[:1], allowed):
            progress(f"{len(chosen)} workers")
            vectors = folder / f"vectors{len(chosen)}"
            vectors.mkdir()
            busy, begun = busy_share(1.0), time.perf_counter()
            workers = [child("worker", bundle, file, folder / "parts", vectors, core) for core in chosen]
            replies = [answer(worker) for worker in workers]
            wall = time.perf_counter() - begun
            assert sum(reply["rows"] for reply in replies) == count
            worked = sum(reply["all_cpu"] for reply in replies)
            found.append(Comparison(model, len(chosen), count, mean, part, wall, worked, busy))
    return found


def save(found: Sequence[Comparison], folder: Path = RESULTS) -> Path:
    """Into the folder of this kind of machine."""
    from targets.base.target import Target

    path = folder / f"{Target.parse('cpu').name}-{cores()}" / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return path


def load(figures: Figures, folder: Path = RESULTS) -> list[Comparison]:
    path = folder / figures.machine.name / NAME
    return [Comparison(**values) for values in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
