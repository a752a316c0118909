"""Who takes part in a comparison, and the processes of those who can."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.contender import Contender, ContenderError
from benchmarks.harness.job import Job

Tell = Callable[[str], None]
Refuse = Callable[[str, str], None]  # takes a contender's name, and why it cannot take part


@dataclass(frozen=True)
class Entry:
    """A contender to be: what it is called, its runtime in RUNTIMES, what it is to load, variables of its environment."""

    name: str
    runtime: str
    job: Job
    environment: Mapping[str, str] = field(default_factory=dict)


def installed(runtime: str) -> bool:
    """Whether the package of a peer is here; torch.compile comes with torch."""
    return importlib.util.find_spec(runtime.partition(".")[0]) is not None


@contextmanager
def lineup(entries: Sequence[Entry], folder: Path, busy: bool, progress: Tell, refuse: Refuse) -> Iterator[list[Contender]]:
    """Start the process of each and let it load; one that fails is left out, the first one's error raised."""
    contenders: list[Contender] = []
    try:
        for entry in entries:
            progress(f"{entry.name}: loading")
            contender = Contender(entry.name, folder, entry.job.threads, busy, entry.runtime, entry.environment)
            contenders.append(contender)
            try:
                contender.load(entry.job)
            except ContenderError as error:
                if len(contenders) == 1:
                    raise
                refuse(entry.name, str(error))
                contenders.remove(contender)
                contender.close()
        yield contenders
    finally:
        for contender in contenders:
            contender.close()
