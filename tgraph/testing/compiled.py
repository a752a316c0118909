"""Programs compiled for a target and run, each by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import tgraph as tg
from tgraph.testing.case import Case
from tgraph.testing.findings import SECONDS, kind_of, short
from tgraph.testing.round_trips import forgotten, other_bits, reloaded
from tgraph.testing.ways import LEVELS

if TYPE_CHECKING:
    from targets import Executable

LAST = LEVELS[-1]  # the level of what is saved, and of sessions
Progress = Callable[[str], None]


def alone(case: Case, steps: Collection[str], progress: Progress, target: str = "cpu") -> None:
    """Compile the graph at the levels among `steps` and run it; at the last level, `bundle` and `session` too."""
    for level in LEVELS:
        if level in steps or (level == LAST and {"bundle", "session"} & set(steps)):
            _level(case, level, steps, progress, target)


def _level(case: Case, level: str, steps: Collection[str], progress: Progress, target: str) -> None:
    outcome, graph = case.outcome, case.graph
    progress(f"{level} compile")
    start = time.process_time()
    try:
        exe = tg.compile(graph, target, level=level)
    except Exception as error:
        outcome.add(kind_of(error), level, short(error))
        return
    finally:
        seconds = time.process_time() - start
        outcome.compile_seconds += seconds
    limit = SECONDS * max(1, -(-len(graph) // 100))
    if seconds > limit:
        outcome.add("slow", level, f"{seconds:.1f} s to compile {len(graph)} nodes, allowed {limit:.0f} s")
    if level in steps and not run(case, exe, level, progress):
        return
    trial = next(iter(case.expected), None)
    if level != LAST or trial is None:
        return
    if "session" in steps and graph.states:
        keep_states(case, exe, trial, progress)
    if "bundle" in steps:
        bundle(case, exe, trial, progress)


def run(case: Case, exe: Executable, level: str, progress: Progress) -> bool:
    """Run on all sets of inputs and compare; whether all is well."""
    for trial, expectation in case.expected.items():
        progress(f"{level} trial {trial}")
        try:
            found = exe.run(expectation.feeds)
        except Exception as error:
            case.outcome.add(kind_of(error), level, f"in the call, {case.sizes(trial)}: {short(error)}")
            return False
        problem = case.compare(found, trial, strict=level == "O0")
        if problem is not None:
            case.outcome.add("wrong", level, f"{problem}\n  {case.sizes(trial)}{_blame(case, level, trial)}")
            return False
    case.outcome.ways[level] += bool(case.expected)
    return True


def _blame(case: Case, level: str, trial: int) -> str:
    """Whether the passes alone, run by the reference, are wrong too."""
    expectation = case.expected[trial]
    try:
        found = tg.compile(case.graph, "numpy", level=level).run(expectation.feeds)
        problem = expectation.difference(found, strict=level == "O0")[0]
    except Exception as error:
        problem = short(error)
    return f"\n  the passes' fault: on the target numpy, {problem}" if problem else "\n  right on the target numpy"


def keep_states(case: Case, exe: Executable, trial: int, progress: Progress) -> None:
    """A session's calls beside calls that are given the states."""
    progress("session calls")
    try:
        problem = forgotten(case, exe, trial)
    except Exception as error:
        case.outcome.add(kind_of(error), "session", short(error))
        return
    if problem is not None:
        case.outcome.add("wrong", "session", f"{problem}\n  {case.sizes(trial)}")
    case.outcome.ways["session"] += 1


def bundle(case: Case, exe: Executable, trial: int, progress: Progress) -> None:
    """The executable saved and loaded."""
    progress("bundle save")
    feeds = case.expected[trial].feeds
    try:
        expected = exe.run(feeds)
        again = reloaded(exe)
        progress("bundle run")
        problem = other_bits(again.run(feeds), expected)  # type: ignore[union-attr]  # of a graph
    except Exception as error:
        case.outcome.add(kind_of(error), "bundle", short(error))
        return
    if problem is not None:
        case.outcome.add("changed", "bundle", f"{problem}\n  {case.sizes(trial)}")
    case.outcome.ways["bundle"] += 1
