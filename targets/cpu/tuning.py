"""Tuning: the search for parameters of a model's kernels that are faster on a machine than the defaults.

One field of a kernel's tile after the other: its other values compete with the best so far, in turns, on the data and weights
that the kernel meets in the model. A value wins if it gives what the default gives (the same bits, unless the field changes how
sums are rounded), if median and minimum of its times are better by more than MARGIN, and if it does so twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from passes.pipelines import Pipeline
from targets.base.backend import emitters_of
from targets.base.rpc import LostMachineError
from targets.base.schedules import NONE, Schedules, kernel_key
from targets.base.target import Target
from targets.base.tvm_api import structural_equal
from targets.compiler import compile
from targets.cpu.emitters import TUNABLE
from targets.cpu.trials import Kernel, Machine, Problem, ThisMachine, cpu_engine, find_problems, measure
from targets.lowering.lower import emit_kernel
from tgraph.ir.dtypes import DType
from tgraph.ir.errors import TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.reference.inputs import generate_inputs
from tgraph.reference.tolerance import compare, tolerance

MARGIN = 0.02  # a winner is better by more than this share, and nowhere worse by more
ROUNDS, MORE_ROUNDS = 7, 15  # of the search, and of the second look at a winner
ONE_OP = 1e-5  # largest error of a kernel in f32 whose sums are rounded in another way


@dataclass
class Tuned:
    """What was found for one kernel: seconds of a call by default and at best, summed over the sizes; what has changed."""

    kernel: str
    key: str
    calls: int
    default: float = 0.0
    best: float = 0.0
    schedule: dict[str, int] = field(default_factory=dict)
    changes: dict[str, tuple[int, int]] = field(default_factory=dict)
    trials: int = 0
    rejected: list[str] = field(default_factory=list)  # variants that failed or gave other results, and how


@dataclass(frozen=True)
class Budget:
    """When to stop: variants tried of each kernel, and seconds for all."""

    trials: int | None = None
    deadline: float | None = None

    def left(self, tuned: Tuned) -> bool:
        return (self.trials is None or tuned.trials < self.trials) and (
            self.deadline is None or time.perf_counter() < self.deadline)


Progress = Callable[[str, int, int], None]  # what is tried, steps done, steps in all


def tune(graph: Graph, target: Target, sizes: Sequence[Mapping[str, int]], *, level: str = DEFAULT_LEVEL,
         passes: Pipeline | None = None, trials: int | None = None, seconds: float | None = None,
         machine: Machine | None = None, progress: Progress = lambda *_: None,
         keep: Callable[[Tuned], None] = lambda _: None) -> list[Tuned]:
    """Search parameters for all kernels of a graph that have some, for calls of these sizes; the longest running first.

    trials: variants of each kernel at most; seconds: for all, about. machine: where kernels run, by default this machine. keep:
    called with what was found for a kernel as soon as its search is over. Raises TargetError for a target that does not run on
    the machine, LostMachineError for a machine that goes.
    """
    machine = machine or ThisMachine()
    machine.require(target)
    plain = replace(target, schedules=NONE)
    exe = compile(graph, plain, level=level, passes=passes)
    engine = cpu_engine(exe._engine, plain)
    at = [find_problems(graph, engine, generate_inputs(graph, s)) for s in sizes]
    searches = [_Search(f, plain, machine, [found[name] for found in at])
                for name, f in exe.kernels.functions.items() if emitters_of(target).anchor_of(f) in TUNABLE]
    budget = Budget(trials, None if seconds is None else time.perf_counter() + seconds)
    total, done = sum(len(s.fields) for s in searches), 0
    for search in sorted(searches, key=lambda s: -s.cost):
        for name in search.fields:
            progress(f"{search.tuned.kernel}: {name}", done, total)
            if budget.left(search.tuned):
                search.improve(name, budget)
            done += 1
        search.finish()
        keep(search.tuned)
    progress("", total, total)
    return [s.tuned for s in sorted(searches, key=lambda s: -s.tuned.default * s.tuned.calls)]


class _Search:
    """The search for one kernel, over the problems that it meets at each choice of sizes."""

    def __init__(self, function: Graph, target: Target, machine: Machine, problems: Sequence[Problem]):
        self.function, self.target, self.machine, self.problems = function, target, machine, problems
        self.trials = [machine.bring(problem) for problem in problems]
        self.default = self.best = TUNABLE[emitters_of(target).anchor_of(function) or ""](function, target)
        self.tir = emit_kernel(function, target)
        self.plain = self._build(self.tir)
        self.kernel = self.plain
        self.results = self.default_results = self._outputs(self.plain)
        self.tuned = Tuned(function.name, kernel_key(function), len(problems[0].weights))
        self.cost = sum(float(np.median(measure([self.plain], t, 3))) for t in self.trials) * self.tuned.calls

    @property
    def fields(self) -> list[str]:
        return list(self.default.variants())

    def improve(self, name: str, budget: Budget) -> None:
        """Try the other values of one field, and take the best of them if it clearly beats what there is."""
        known = [(self.best, self.kernel, self.results)]
        for tile, kernel in self._variants(name, budget):
            results = self._right_results(name, tile, kernel)
            if results is not None:
                known.append((tile, kernel, results))
        if len(known) == 1:
            return
        kernels = [kernel for _, kernel, _ in known]
        ratios = self._ratios(kernels, ROUNDS)
        winner = min(range(1, len(known)), key=lambda i: ratios[i])
        if ratios[winner] < 1 - MARGIN and self._ratios([self.kernel, kernels[winner]], MORE_ROUNDS)[1] < 1 - MARGIN:
            self.best, self.kernel, self.results = known[winner]

    def finish(self) -> None:
        """Compare what was found with the default once more, and write it down if it still wins."""
        tuned = self.tuned
        kernels = [self.plain, self.kernel]
        times = [measure(kernels, trial, MORE_ROUNDS) for trial in self.trials]
        if self.best != self.default and _worst_ratio(times, 1) >= 1 - MARGIN:
            self.best, self.kernel = self.default, self.plain
        tuned.default = sum(float(np.median(t[0])) for t in times)
        tuned.best = sum(float(np.median(t[1])) for t in times) if self.best != self.default else tuned.default
        before, after = asdict(self.default), asdict(self.best)
        tuned.changes = {k: (before[k], after[k]) for k in after if before[k] != after[k]}
        tuned.schedule = {k: new for k, (_, new) in tuned.changes.items()}

    def _variants(self, name: str, budget: Budget) -> Iterator[tuple[Any, Any]]:
        """The tiles with another value of the field, and their kernels; those with the same code are left out."""
        seen = [emit_kernel(self.function, self._with(self.best))]
        for value in self.default.variants()[name]:
            if value == getattr(self.best, name) or not budget.left(self.tuned):
                continue
            tile = replace(self.best, **{name: value})
            try:
                tir = emit_kernel(self.function, self._with(tile))
                if any(structural_equal(tir, other) for other in seen):
                    continue
                seen.append(tir)
                self.tuned.trials += 1
                kernel = self._build(tir)
            except LostMachineError:
                raise
            except (TGraphError, RuntimeError, ValueError, TypeError) as error:  # what TVM raises; none may stop the search
                self.tuned.rejected.append(f"{name}={value} does not compile: {str(error).strip().splitlines()[-1]}")
                continue
            yield tile, kernel

    def _build(self, tir: Any) -> Kernel:
        return self.machine.build(tir, self.target, self.problems[0])

    def _with(self, tile: Any) -> Target:
        changed = {k: v for k, v in asdict(tile).items() if v != getattr(self.default, k)}
        return replace(self.target, schedules=Schedules({self.tuned.key: changed}))

    def _outputs(self, kernel: Any) -> list[tuple[DType, np.ndarray]]:
        """What a kernel gives for all problems, with the element types."""
        return [(value.dtype, array) for problem, trial in zip(self.problems, self.trials)
                for value, array in zip(problem.node.results, trial.outputs(kernel))]

    def _right_results(self, name: str, tile: Any, kernel: Any) -> list[tuple[DType, np.ndarray]] | None:
        """What a kernel gives if it is right: the bits of the best so far, or near the default if sums are cut anew."""
        try:
            results = self._outputs(kernel)
        except RuntimeError as error:  # TVM's
            self.tuned.rejected.append(f"{name}={getattr(tile, name)} fails: {error}")
            return None
        if name in self.default.rounding:
            right = all(compare(array, wanted, min(tolerance(dtype), ONE_OP) if dtype.bits >= 32 else tolerance(dtype)).ok
                        for (dtype, array), (_, wanted) in zip(results, self.default_results))
        else:
            right = all(a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(results, self.results))
        if not right:
            self.tuned.rejected.append(f"{name}={getattr(tile, name)} gives other results")
        return results if right else None

    def _ratios(self, kernels: Sequence[Any], rounds: int) -> list[float]:
        times = [measure(kernels, trial, rounds) for trial in self.trials]
        return [_worst_ratio(times, i) for i in range(len(kernels))]


def _worst_ratio(times: Sequence[np.ndarray], index: int) -> float:
    """Time of kernel `index` over that of kernel 0, the mean over all sizes; infinite if some size is clearly slower.

    By the median and by the minimum, whichever is worse: noise rarely favours the same kernel in both.
    """
    ratios = np.array([[f(t[index]) / f(t[0]) for f in (np.median, np.min)] for t in times])
    if (ratios[:, 0] > 1 + MARGIN).any():
        return float("inf")
    return float(np.exp(np.log(ratios).mean(axis=0)).max())


def database_rows(found: Sequence[Tuned]) -> dict[str, dict[str, Any]]:
    """What `save_schedules` writes; a kernel whose default is best is written too, so that an older finding goes."""
    return {t.key: {"kernel": t.kernel, "schedule": t.schedule,
                    "microseconds": [round(1e6 * t.default, 1), round(1e6 * t.best, 1)]} for t in found if t.trials}
