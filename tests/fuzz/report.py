"""What a run found: counts by kind, and failures that look like one fault together."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from tests.fuzz.shrink import Small
from tests.fuzz.trial import KINDS, Finding, Outcome
from tests.fuzz.worker import Job


@dataclass
class Failure:
    """A program that failed, and what it has been shrunk to."""

    job: Job
    text: str
    finding: Finding
    small: Small | None = None

    @property
    def fault(self) -> tuple[str, ...]:
        """What failures of one fault have in common: the kind, the words of the message, the ops that are left."""
        kind, _, words = self.finding.key
        return (kind, words, *(self.small.ops if self.small else ("not shrunk",)))


@dataclass
class Tally:
    """Sums over all programs."""

    programs: int = 0
    nodes: int = 0
    elements: int = 0
    excused: int = 0
    trials: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    compilations: int = 0
    beside_torch: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)
    ops: Counter[str] = field(default_factory=Counter)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, job: Job, text: str, outcome: Outcome, torch: bool) -> list[Failure]:
        """Count one outcome; the failures in it."""
        self.programs += 1
        self.nodes += outcome.nodes
        self.elements += outcome.elements
        self.excused += outcome.excused
        self.trials += outcome.trials
        self.skipped += outcome.skipped
        self.failed += bool(outcome.findings)
        self.seconds += sum(outcome.compile_seconds.values())
        self.compilations += len(outcome.compile_seconds)
        self.beside_torch += torch and not outcome.unmapped and bool(outcome.trials)
        self.unmapped.update(outcome.unmapped)
        self.ops.update(outcome.ops)
        new = [Failure(job, text, f) for f in outcome.findings]
        self.kinds.update((f.kind, f.step) for f in outcome.findings)
        self.failures += new
        return new

    def table(self) -> Table:
        """Kinds of failure by step."""
        steps = sorted({s for _, s in self.kinds})
        made = Table(title=f"{self.failed} of {self.programs} programs fail", title_justify="left")
        made.add_column("kind")
        for step in steps:
            made.add_column(step, justify="right")
        made.add_column("meaning")
        for kind, meaning in KINDS.items():
            counts = [self.kinds[kind, step] for step in steps]
            if any(counts):
                made.add_row(kind, *map(str, counts), meaning)
        return made

    def lines(self) -> list[str]:
        """The figures that say how much was looked at."""
        share = self.excused / max(self.elements, 1)
        unmapped = ", ".join(f"{n} ({c})" for n, c in self.unmapped.most_common())
        return [
            f"{self.programs} programs of {self.nodes / max(self.programs, 1):.1f} nodes, {len(self.ops)} ops",
            f"{self.trials} sets of inputs, {self.skipped} refused by the reference too",
            f"{self.elements} elements compared, {self.excused} ill-conditioned ({share:.2%})",
            f"{self.compilations} compilations, {self.seconds / max(self.compilations, 1):.2f} s each",
            f"{self.beside_torch} programs beside PyTorch" + (f"; ops without a mapping: {unmapped}" if unmapped else ""),
        ]


def write(folder: Path, failures: Iterable[Failure]) -> None:
    """A .tg file for each failure, the first of each fault under its own name, with what is wrong in the comment."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for failure in failures:
        small = failure.small
        name = f"{failure.finding.kind}-{failure.finding.step}-{failure.job.seed}.tg"
        finding = small.finding if small else failure.finding
        notes = [f"# seed {failure.job.seed}, {finding.kind} at {finding.step}", *(f"# {x}" for x in finding.detail.split("\n"))]
        (folder / name).write_text("\n".join(notes) + "\n" + (small.text if small else failure.text).rstrip() + "\n")
        rows.append({"file": name, "seed": failure.job.seed, "kind": finding.kind, "step": finding.step, "detail": finding.detail,
                     "fault": list(failure.fault), "nodes": small.nodes if small else None})
    (folder / "failures.json").write_text(json.dumps(rows, indent=1))


def brief(text: str, width: int = 100) -> str:
    """One line of a message."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= width else line[:width - 1] + "…"
