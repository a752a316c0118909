"""Graphs compiled as one program: over one table of weights, sharing kernels where these are equal, in one library.

It takes less time, and shows what goes wrong only where graphs share something. Whatever is wrong is looked at again with
the graph by itself, which says more, and which can be made smaller.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

import tgraph as tg
from passes.manager import optimize
from tgraph.ir.weights import Weights
from tgraph.testing.case import Case
from tgraph.testing.compiled import LAST, Progress, alone, keep_states
from tgraph.testing.findings import SECONDS, Finding, kind_of, short
from tgraph.testing.round_trips import lost, other_bits, reloaded, through_json
from tgraph.testing.ways import LEVELS

if TYPE_CHECKING:
    from targets import Executable, ProgramExecutable

Key = tuple[int, str]  # the number of a case, and a level


def in_company(cases: Sequence[Case], steps: Collection[str], progress: Progress, target: str = "cpu") -> None:
    """Compile all graphs at all levels as one program, and run each; it must be fine to run each by itself, too."""
    cases = [case for case in cases if case.expected]
    levels = [level for level in LEVELS if level in steps]
    try:
        company = Company(cases, levels)
    except Exception:  # a pass fails on one of them
        company = None
    found = dict.fromkeys(range(len(cases)), Finding("error", LAST, "a pass fails")) if company is None else company.examine(
        steps, progress, target)
    for number, finding in found.items():
        case = cases[number]
        before = len(case.outcome.findings)
        alone(case, steps, progress, target)
        if len(case.outcome.findings) == before and finding.kind != "slow":
            where = f"in a program of {len(cases)} graphs, but not by itself: {finding.detail}"
            case.outcome.add(finding.kind, finding.step, where)
            case.outcome.company = "" if company is None else str(company.program)


class Company:
    """The program of some cases, and what is found of it: at most one finding a case, by number."""

    def __init__(self, cases: Sequence[Case], levels: Sequence[str]):
        self.cases, self.levels = cases, levels
        self.found: dict[int, Finding] = {}
        self.program = tg.Program(Weights())
        self.name: dict[Key, str] = {}
        types: dict[str, tg.TensorType] = {}
        for number, case in enumerate(cases):
            for level in levels:
                apart = through_json(case.graph)  # its functions are its own, too
                for old, new in _rename(apart, types, number, level):
                    self.program.weights.set(new, case.graph.weights[old])
                graph = optimize(apart, level)
                name = self.name[number, level] = f"p{number}_{level}"
                graph.name = name
                for block in (*graph.functions.values(), graph):
                    block.weights = self.program.weights
                self.program.add(name, graph)

    def examine(self, steps: Collection[str], progress: Progress, target: str) -> Mapping[int, Finding]:
        """Compile and run; what is wrong with which case, the first thing of each."""
        progress("program compile")
        start = time.process_time()
        try:
            exe = tg.compile(self.program, target, level="O0")
            library = exe._compiled.library
            assert library is not None
            library.link()  # as the compile cache does: otherwise the machine code is made again in memory, and again to save it
        except Exception as error:
            self._all(Finding(kind_of(error), LAST, short(error)))
            return self.found
        seconds = time.process_time() - start
        nodes = sum(len(g) for g in self.program.graphs.values())
        for case in self.cases:
            case.outcome.compile_seconds += seconds / len(self.cases)
        if seconds > SECONDS + nodes / 20:  # by themselves they may take SECONDS for a hundred
            self._all(Finding("slow", LAST, f"{seconds:.1f} s"))
        results = {key: made for key in self.name if (made := self._run(exe, key, progress)) is not None}
        for number, case in enumerate(self.cases):
            if number not in self.found and "session" in steps and case.graph.states and LAST in self.levels:
                self._session(exe, number, progress)
        if "bundle" in steps:
            self._round_trips(exe, results, progress)
        for number, case in enumerate(self.cases):
            if number not in self.found:
                case.outcome.ways.update([*self.levels, "several graphs"])
        return self.found

    def _run(self, exe: ProgramExecutable, key: Key, progress: Progress) -> dict[str, np.ndarray] | None:
        """The results of the first set of inputs; None if something is wrong."""
        number, level = key
        case = self.cases[number]
        first = None
        for trial, expectation in case.expected.items():
            progress(f"program trial {trial} of graph {number} at {level}")
            try:
                made = exe[self.name[key]].run(expectation.feeds)
                problem = case.compare(made, trial, strict=level == "O0")
            except Exception as error:
                kind, problem = kind_of(error), short(error)
            else:
                kind = "wrong"
            if problem is not None:
                self.found.setdefault(number, Finding(kind, level, f"{case.sizes(trial)}: {problem}"))
                return None
            first = made if first is None else first
        return first

    def _session(self, exe: ProgramExecutable, number: int, progress: Progress) -> None:
        case = self.cases[number]
        before = len(case.outcome.findings)
        keep_states(case, exe[self.name[number, LAST]], next(iter(case.expected)), progress)
        if new := case.outcome.findings[before:]:
            del case.outcome.findings[before:]
            self.found.setdefault(number, new[0])

    def _round_trips(self, exe: ProgramExecutable, results: Mapping[Key, dict[str, np.ndarray]], progress: Progress) -> None:
        """The program's text and JSON; the executable saved and loaded."""
        for way in ("text", "json"):
            problem = lost(self.program, way)
            if problem is not None:
                self._all(Finding("changed", way, problem))
        progress("bundle save")
        try:
            again: dict[str, Executable] = reloaded(exe).graphs  # type: ignore[union-attr]  # of a program
        except Exception as error:
            self._all(Finding(kind_of(error), "bundle", short(error)))
            return
        for key, expected in results.items():
            number, case = key[0], self.cases[key[0]]
            trial, expectation = next(iter(case.expected.items()))
            progress(f"bundle run of graph {number}")
            problem = other_bits(again[self.name[key]].run(expectation.feeds), expected)
            if problem is not None:
                self.found.setdefault(number, Finding("changed", "bundle", f"{case.sizes(trial)}: {problem}"))
            case.outcome.ways["bundle"] += key[1] == LAST

    def _all(self, finding: Finding) -> None:
        for number in range(len(self.cases)):
            self.found.setdefault(number, finding)


def _rename(graph: tg.Graph, types: dict[str, tg.TensorType], number: int, level: str) -> Iterator[tuple[str, str]]:
    """Give functions names of their own, and parameters that another graph has with another type; equal ones are shared.

    Yields the old and the new name of each parameter.
    """
    for block in (*graph.functions.values(), graph):
        block.name = f"{block.name}_{number}_{level}"
        for name, parameter in list(block.parameters.items()):
            if types.setdefault(name, parameter.type) != parameter.type:
                parameter.name = f"{name}_{number}"
                types[parameter.name] = parameter.type
            yield name, parameter.name
        block.parameters = {p.name: p for p in block.parameters.values()}
