"""A file of figures that runs of the fuzzer add to, night by night: sums over all programs, and the seeds that are done."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from tgraph.formats.disk import replacing
from tgraph.ir.errors import FormatError
from tgraph.testing.report import Tally

EVERY = 60.0  # seconds between two times of writing


@dataclass
class Figures:
    """The file: what runs before gave, and this run's tally, which is added whenever the file is written."""

    path: Path
    seeds: list[list[int]] = field(default_factory=list)  # of each run the first seed, and the one after the last
    before: Tally = field(default_factory=Tally)
    written: float = field(default_factory=time.monotonic)

    @classmethod
    def read(cls, path: Path) -> Figures:
        """What a file holds; nothing yet if there is none. Raises FormatError for a file of something else."""
        made = cls(path)
        if path.exists():
            try:
                found = json.loads(path.read_bytes())
                made.seeds = [[int(first), int(end)] for first, end in found["seeds"]]
                made.before.add_facts(found)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise FormatError(f"{path} holds no figures of tgraph fuzz ({type(error).__name__}: {error})") from None
        return made

    @property
    def next_seed(self) -> int | None:
        """The seed after all that were given to a run; None if there was none."""
        return max((end for _, end in self.seeds), default=None)

    def ranges(self) -> list[list[int]]:
        """The seeds from the first to before the last, those that follow each other as one."""
        found: list[list[int]] = []
        for first, end in sorted(self.seeds):
            if found and first <= found[-1][1]:
                found[-1][1] = max(found[-1][1], end)
            else:
                found.append([first, end])
        return found

    def write(self, tally: Tally, first: int, end: int) -> None:
        """Write the sums with those of this run, whose programs have had the seeds from `first` to before `end`."""
        total = Tally()
        total.add_facts(self.before.facts())
        total.add_facts(tally.facts())
        text = json.dumps({"seeds": [*self.seeds, [first, end]], **total.facts()}, indent=1)
        with replacing(self.path) as file:
            file.write(text.encode())
        self.written = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to write again, so that a run that is killed loses little."""
        return time.monotonic() - self.written >= EVERY
