"""What a run found: counts by kind, and failures that look like one fault together."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tgraph.ir.dtypes import DTYPES
from tgraph.testing.findings import KINDS, Finding, Outcome
from tgraph.testing.shrink import Small
from tgraph.testing.worker import Job

SUMS = ("nodes", "elements", "excused", "trials", "skipped", "compile_seconds")  # fields that a tally adds up


@dataclass
class Failure:
    """A program that failed, and what it has been shrunk to."""

    job: Job
    text: str
    finding: Finding
    several: bool = False  # the text is that of a program of several graphs, as which alone it fails
    small: Small | None = None

    @property
    def fault(self) -> tuple[str, ...]:
        """What failures of one fault have in common: the kind, the words of the message, the ops that are left."""
        kind, _, words = self.finding.key
        return (kind, words, *(self.small.ops if self.small else ("not shrunk",)))

    def facts(self) -> dict[str, Any]:
        """The failure as plain data: seed, kind, step, detail, and the smallest program."""
        small = self.small
        finding = small.finding if small else self.finding
        return {"seed": self.job.seed, "kind": finding.kind, "step": finding.step, "detail": finding.detail,
                "nodes": small.nodes if small else None, "text": small.text if small else self.text}


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
    compile_seconds: float = 0.0
    ways: Counter[str] = field(default_factory=Counter)
    not_comparable: Counter[str] = field(default_factory=Counter)
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, job: Job, text: str, outcome: Outcome) -> list[Failure]:
        """Count one outcome; the failures in it."""
        self.programs += 1
        self.failed += bool(outcome.findings)
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        self.ways.update(outcome.ways)
        self.not_comparable.update(outcome.not_comparable)
        self.cells.update(outcome.cells)
        new = [Failure(job, text, f, bool(outcome.company)) for f in outcome.findings]
        self.kinds.update((f.kind, f.step) for f in outcome.findings)
        self.failures += new
        return new

    @property
    def ops(self) -> Counter[str]:
        """Nodes by op."""
        found: Counter[str] = Counter()
        for (op, _), count in self.cells.items():
            found[op] += count
        return found

    def by_kind(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows: kinds of failure by the way that showed them."""
        steps = sorted({s for _, s in self.kinds})
        rows = [[kind, *(str(self.kinds[kind, step]) for step in steps), meaning] for kind, meaning in KINDS.items()
                if any(self.kinds[kind, step] for step in steps)]
        return ["kind", *(f">{step}" for step in steps), "meaning"], rows

    def facts(self) -> dict[str, Any]:
        """The sums as plain data; `add_facts` adds such ones."""
        return {"programs": self.programs, "failed": self.failed, **{name: getattr(self, name) for name in SUMS},
                "ways": dict(self.ways), "not_comparable": dict(self.not_comparable), "counts": self.by_op()}

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Add the sums of another tally."""
        for name in ("programs", "failed", *SUMS):
            setattr(self, name, getattr(self, name) + facts[name])
        self.ways.update(facts["ways"])
        self.not_comparable.update(facts["not_comparable"])
        self.cells.update({(op, dtype): count for op, row in facts["counts"].items() for dtype, count in row.items()})

    def by_op(self) -> dict[str, dict[str, int]]:
        """Nodes by op and element type of the first result."""
        return {op: {name: self.cells[op, name] for name in DTYPES if self.cells[op, name]} for op in sorted(self.ops)}

    def counts(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows: nodes by op and element type."""
        types = [name for name in DTYPES if any(d == name for _, d in self.cells)]
        rows = [[op, *(str(self.cells[op, name] or "") for name in types)] for op in sorted(self.ops)]
        return ["op", *(f">{name}" for name in types)], rows

    def lines(self) -> list[str]:
        """The figures that say how much was looked at."""
        share = self.excused / max(self.elements, 1)
        return [
            f"{self.programs} programs of {self.nodes / max(self.programs, 1):.1f} nodes, {len(self.ops)} ops",
            f"{self.trials} sets of inputs, {self.skipped} refused by the reference too",
            f"{self.elements} elements compared, {self.excused} ill-conditioned ({share:.2%})",
            f"compiled in {self.compile_seconds / max(self.programs, 1):.2f} s each",
            "went through: " + ", ".join(f"{name} ({count})" for name, count in sorted(self.ways.items())),
            *(f"not comparable, {reason}: {count}" for reason, count in self.not_comparable.most_common()),
        ]


def faults(failures: Sequence[Failure]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: the smallest failure of what looks like one fault."""
    groups: dict[tuple[str, ...], list[Failure]] = {}
    for failure in failures:
        groups.setdefault(failure.fault, []).append(failure)
    rows = []
    for group in sorted(groups.values(), key=lambda g: g[0].fault):
        best = min(group, key=lambda f: f.small.nodes if f.small else 999)
        facts = best.facts()
        steps = "+".join(sorted({f.finding.step for f in group}))
        rows.append([facts["kind"], steps, str(best.job.seed), str(facts["nodes"] or ""), ", ".join(best.fault[2:]),
                     brief(facts["detail"])])
    return ["kind", "at", ">seed", ">nodes", "ops", "what"], rows


def write(folder: Path, failures: Iterable[Failure]) -> None:
    """A .tg file for each failure, with what is wrong in its comment, and failures.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for failure in failures:
        facts = failure.facts()
        name = f"{facts['kind']}-{facts['step']}-{facts['seed']}.tg"
        notes = [f"seed {facts['seed']}, {facts['kind']} at {facts['step']}", *facts["detail"].split("\n")]
        (folder / name).write_text("".join(f"# {x}\n" for x in notes) + facts.pop("text").rstrip() + "\n", encoding="utf-8")
        rows.append({"file": name, **facts, "fault": list(failure.fault)})
    (folder / "failures.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def brief(text: str, width: int = 100) -> str:
    """One line of a message."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= width else line[:width - 1] + "…"
