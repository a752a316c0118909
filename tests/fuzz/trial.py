"""One program through the reference, the compiler and PyTorch: what is wrong with it, in words.

Runs in a worker process (`tests/fuzz/worker.py`): a crash or a hang is seen by the process that asked.
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

import tgraph as tg
from tests.fuzz.feeds import TRIALS, describe, feeds_of, set_weights, sizes_of
from tests.fuzz.oracle import Expectation
from tgraph.reference.interpreter import Interpreter

LEVELS = ("O0", "O3")
SECONDS = 5.0  # of compile time for each hundred nodes or part of them, on one core

# The kinds of failure. `crash` and `hang` are found by the asking process.
KINDS = {
    "crash": "the process was killed by a signal", "hang": "no end within the time limit",
    "error": "an exception that is no TGraphError", "refused": "a TGraphError for a sound program",
    "wrong": "numbers other than the reference's", "slow": f"over {SECONDS:.0f} s of compile time a hundred nodes",
    "text": "the text form is another graph", "reference": "the reference fails, or differs from PyTorch in float64",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, the step that showed it (a level, `torch`, ...), and what was seen."""

    kind: str
    step: str
    detail: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What two findings of one fault have in common: their kind, step and, but for wrong numbers, the message's words."""
        first = "" if self.kind in ("wrong", "slow", "hang", "crash") else self.detail.strip().split("\n")[0]
        return self.kind, self.step, re.sub(r"[%@$\"']?\b\w*\d\w*\b|\[[^\]]*\]", "_", first)[:160]


@dataclass
class Outcome:
    """What came of a program. `elements` were compared, `excused` of them differ where the program is ill-conditioned."""

    nodes: int = 0
    findings: list[Finding] = field(default_factory=list)
    elements: int = 0
    excused: int = 0
    trials: int = 0
    skipped: int = 0
    compile_seconds: dict[str, float] = field(default_factory=dict)
    ops: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()  # ops that PyTorch was not asked about

    def add(self, kind: str, step: str, detail: str) -> None:
        self.findings.append(Finding(kind, step, detail))


def examine(graph: tg.Graph, seed: int, steps: Sequence[str] = (*LEVELS, "torch"),
            progress: Callable[[str], None] = lambda step: None) -> Outcome:
    """Compile and run the graph at the levels among `steps`, on three sets of inputs made from the seed; `torch`: PyTorch
    beside the reference, where it is installed."""
    outcome = Outcome(len(graph), ops=tuple(sorted({n.op.name for n in graph.nodes})))
    progress("reference")
    set_weights(graph, seed)
    expected: dict[int, Expectation] = {}
    try:
        if tg.parse(str(graph)) != graph or str(tg.parse(str(graph))) != str(graph):
            outcome.add("text", "text", "parse(str(graph)) is another graph")
        for trial in range(TRIALS):
            feeds = feeds_of(graph, seed, trial)
            try:
                expected[trial] = Expectation(graph, feeds, tg.compile(graph, "numpy", level="O0").run(feeds))
            except tg.InputError as error:  # sizes that the program does not take, as 0 where something is looked up
                outcome.skipped += 1
                first = str(error).split("\n")[0]
                if "outside of" not in first and "does not" not in first and "reshape" not in first:
                    outcome.add("reference", "numpy", f"{error}")
    except Exception as error:
        outcome.add("reference", "numpy", _short(error))
        return outcome
    outcome.trials = len(expected)
    for level in (s for s in steps if s in LEVELS):
        _level(graph, level, seed, expected, outcome, progress)
    if "torch" in steps and expected:
        progress("torch")
        _torch(graph, expected, outcome)
    return outcome


def _level(graph: tg.Graph, level: str, seed: int, expected: Mapping[int, Expectation], outcome: Outcome,
           progress: Callable[[str], None]) -> None:
    progress(f"{level} compile")
    start = time.process_time()
    try:
        executable = tg.compile(graph, "cpu", level=level)
    except Exception as error:
        outcome.add("refused" if isinstance(error, tg.TGraphError) else "error", level, _short(error))
        return
    finally:
        outcome.compile_seconds[level] = seconds = time.process_time() - start
    limit = SECONDS * max(1, -(-len(graph) // 100))
    if seconds > limit:
        outcome.add("slow", level, f"{seconds:.1f} s to compile {len(graph)} nodes, allowed {limit:.0f} s")
    for trial, expectation in expected.items():
        progress(f"{level} trial {trial}")
        at = f"trial {trial} ({describe(sizes_of(graph, seed, trial))})"
        try:
            found = executable.run(expectation.feeds)
        except Exception as error:
            outcome.add("refused" if isinstance(error, tg.TGraphError) else "error", level, f"in the call, {at}: {_short(error)}")
            return
        problem, elements, excused = expectation.difference(found, strict=level == "O0")
        outcome.elements += elements
        outcome.excused += excused
        if problem is not None:
            outcome.add("wrong", level, f"{problem}\n  {at}{_blame(graph, level, expectation)}")
            return


def _blame(graph: tg.Graph, level: str, expectation: Expectation) -> str:
    """Whether the passes alone, run by the reference, are wrong too."""
    try:
        found = tg.compile(graph, "numpy", level=level).run(expectation.feeds)
        problem = expectation.difference(found, strict=level == "O0")[0]
    except Exception as error:
        problem = _short(error)
    return f"\n  the passes' fault: on the target numpy, {problem}" if problem else "\n  right on the target numpy"


def _torch(graph: tg.Graph, expected: Mapping[int, Expectation], outcome: Outcome) -> None:
    from tests.fuzz import torch_run

    if not torch_run.AVAILABLE:
        return
    for trial, expectation in expected.items():
        with np.errstate(all="ignore"):
            wide = Expectation(graph, expectation.feeds, Interpreter(graph).run(expectation.feeds), wide=True)
            try:
                found, outcome.unmapped = torch_run.run(graph, expectation.feeds)
            except Exception as error:
                outcome.add("reference", "torch", f"torch_run: {_short(error)}")
                return
        if outcome.unmapped:
            return
        problem = wide.difference(found, strict=False)[0]
        if problem is not None:
            outcome.add("reference", "torch", f"PyTorch in float64 differs: {problem} (trial {trial})")
            return


def _short(error: Exception) -> str:
    """The class and message of an exception, and the innermost place."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[-1500:]}\n  at {frame.filename.rpartition('/')[2]}:{frame.lineno}"
