"""Parts of a run, or the rows of a Ray dataset, on actors of Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tgraph.batch.files import Part
from tgraph.batch.job import Job, Work, on_cluster
from tgraph.batch.model import WINDOW, RowModel
from tgraph.ir.errors import FormatError, InputError, TargetError, TGraphError, first_line

LOCAL = "local"
FAILURES: dict[str, type[TGraphError]] = {cls.__name__: cls for cls in (FormatError, InputError, TargetError)}


class PartWorker:
    """An actor: computes parts and writes them, one after the other."""

    job: Job
    model: RowModel
    parts: dict[int, Part]

    def __init__(self, job: Job):
        _limit_threads(job.work.threads)
        self.job, self.model = job, job.work.start()
        self.parts = {part.number: part for part in job.files.parts}

    def __call__(self, numbers: dict[str, np.ndarray]) -> dict[str, Any]:
        """The same numbers, with what went wrong: errors of Ray's own making have lost what they are of."""
        failures = [self._failure(self.parts[number]) for number in numbers["part"].tolist()]
        return {**numbers, "kind": [kind for kind, _ in failures], "message": [message for _, message in failures]}

    def _failure(self, part: Part) -> tuple[str, str]:
        try:
            if not self.job.finished(part):  # it is, if an actor died between writing it and saying so
                self.job.compute(self.model, part)
        except (TGraphError, OSError) as error:
            return type(error).__name__, str(error)
        return "", ""


class RowWorker:
    """An actor: the model over batches of rows."""

    model: RowModel

    def __init__(self, work: Work):
        _limit_threads(work.threads)
        self.model = work.start()

    def __call__(self, table: Any) -> Any:
        return self.model(table)


def _limit_threads(count: int) -> None:
    """Let the tokenizer take no more threads than the model; it reads this when it first starts some."""
    os.environ["RAYON_NUM_THREADS"] = str(count)


def run_parts(job: Job, parts: Sequence[Part], address: str, workers: int | None, done: Callable[[Part], object]) -> None:
    """Compute parts on actors, each of which reads and writes its own. Ray restarts a dead one, and does again what it had
    begun. The files, and the folder of parts, are on disks that all machines see. Raises TGraphError.
    """
    with connected(address) as ray:
        work = job.work if address == LOCAL else on_cluster(job.work, stored(ray, job.work))
        numbered = {part.number: part for part in parts}
        dataset = ray.data.from_items([{"part": number} for number in numbered], override_num_blocks=len(numbered))
        pool = ray.data.ActorPoolStrategy(size=min(workers or _room(ray, work), len(parts)))
        found = dataset.map_batches(PartWorker, fn_constructor_kwargs={"job": replace(job, work=work)}, batch_size=1,
                                    batch_format="numpy", compute=pool, num_cpus=work.threads)
        try:
            for row in found.iter_rows():
                if row["kind"]:
                    raise FAILURES.get(row["kind"], TGraphError)(row["message"])
                done(numbered[row["part"]])
        except ray.exceptions.RayError as error:
            raise TargetError(f"Ray gave up: {first_line(error)}") from error


def map_dataset(dataset: Any, work: Work, workers: int | None) -> Any:
    """A Ray dataset whose rows go through the model when it is used, in their order."""
    ray = import_ray()
    dataset.context.execution_options.preserve_order = True
    window = work.options.get("window", WINDOW)
    pool = ray.data.ActorPoolStrategy(**({"size": workers} if workers else {"min_size": 1, "max_size": _room(ray, work)}))
    return dataset.map_batches(RowWorker, fn_constructor_kwargs={"work": on_cluster(work, stored(ray, work))},
                               batch_size=4 * window, batch_format="pyarrow", compute=pool, num_cpus=work.threads)


def _room(ray: Any, work: Work) -> int:
    """The number of actors that there are cores for."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)) // work.threads)


def stored(ray: Any, work: Work) -> Any:
    """The work's bundle in Ray's object store, for machines that do not have its file."""
    return ray.put(np.asarray(np.memmap(work.bundle.path, np.uint8, "r")))


def import_ray() -> Any:
    """Ray with its datasets. Raises ModuleNotFoundError that says how to get it."""
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"this needs Ray ({error.name} is missing): pip install 'tgraph-compiler[ray]'") from error
    return ray


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Context with Ray at an address, "local" for one of this process's own, or as the process has it already.

    Raises InputError if there is none.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # ours is not to tell anybody of
    options: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"there is no Ray at {address}: {error}") from None
    try:
        yield ray
    finally:
        ray.shutdown()
