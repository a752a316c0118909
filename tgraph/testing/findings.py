"""What is found of a program: each thing that is wrong, and how much was looked at."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from dataclasses import dataclass, field

from tgraph.ir.errors import TGraphError

SECONDS = 5.0  # of compile time for each hundred nodes or part of them, on one core

# The kinds of failure. `crash` and `hang` are found by the asking process.
KINDS = {
    "crash": "the process was killed by a signal", "hang": "no end within the time limit",
    "error": "an exception that is no TGraphError", "refused": "a TGraphError for a sound program",
    "wrong": "numbers other than the reference's", "slow": f"over {SECONDS:.0f} s of compile time a hundred nodes",
    "changed": "other bits, or another graph, after a round trip", "reference": "the reference fails",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, the way that showed it (`O3`, `bundle`, ...), and what was seen."""

    kind: str
    step: str
    detail: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What two findings of one fault have in common: their kind, step and, but for wrong numbers, the message's words."""
        first = "" if self.kind in ("wrong", "slow", "hang", "crash") else self.detail.strip().split("\n")[0]
        return self.kind, self.step, re.sub(r"[%@$\"']?\b\w*\d\w*\b|\[[^\]]*\]", "_", first)[:160]

    def __str__(self) -> str:
        return f"{self.kind} at {self.step}: {self.detail}"


@dataclass
class Outcome:
    """What came of one program; true if nothing is wrong.

    `findings` says what is. `trials` sets of inputs were run, `skipped` ones the reference refuses as well. Of the `elements`
    that were compared, `excused` ones differ where the program is ill-conditioned. `ways` counts what it went through, and
    `not_comparable` why it could not go one of them. `cells` counts the nodes by op and element type of the first result.
    """

    nodes: int = 0
    findings: list[Finding] = field(default_factory=list)
    elements: int = 0
    excused: int = 0
    trials: int = 0
    skipped: int = 0
    compile_seconds: float = 0.0
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    not_comparable: Counter[str] = field(default_factory=Counter)
    company: str = ""  # the text of the program of several graphs, where a graph fails in their company alone

    def add(self, kind: str, step: str, detail: str) -> None:
        """Note one thing that is wrong."""
        self.findings.append(Finding(kind, step, detail))

    def __bool__(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        if self.findings:
            return "\n".join(map(str, self.findings))
        went = ", ".join(f"{name} {count}" for name, count in self.ways.items())
        return f"{self.nodes} nodes, {self.trials} sets of inputs, {self.elements} elements: right ({went})"


def kind_of(error: Exception) -> str:
    """The kind of failure that an exception is, of a program that is sound."""
    return "refused" if isinstance(error, TGraphError) else "error"


def short(error: BaseException) -> str:
    """The class and message of an exception, and the innermost place."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[-1500:]}\n  at {frame.filename.rpartition('/')[2]}:{frame.lineno}"
