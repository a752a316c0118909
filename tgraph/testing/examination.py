"""Programs sent through all ways: the reference, round trips, passes, the compiler, PyTorch, ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import tgraph as tg
from tgraph.ir.graph import Graph
from tgraph.ir.program import only_graph
from tgraph.testing.case import Case
from tgraph.testing.company import in_company
from tgraph.testing.compiled import alone
from tgraph.testing.findings import Outcome, short
from tgraph.testing.interpreted import interpreted
from tgraph.testing.round_trips import lost
from tgraph.testing.ways import COMPILED, KERNELS, PASSES, ROUND_TRIPS, WAYS


def check(graph: Graph, seed: int = 0, *, ways: Collection[str] = WAYS, target: str = "cpu") -> Outcome:
    """Send one graph through all ways, on three sets of inputs made from the seed: true if nothing is wrong.

    `assert tgraph.testing.check(graph)` is all that a test of an op or a pass of your own needs; what is wrong is the Outcome's
    text. Each element is compared for itself with the reference at the precision of the types, NaN and infinities included. The
    inputs of the first set are calm numbers; those of the others have infinities, NaN, ties, subnormal numbers and the ends of
    each type. PyTorch and ONNX Runtime take part where they are installed. Parameters without data are given some.

    ways: some of `tgraph.testing.WAYS`. A crash of compiled code ends the process: `tgraph fuzz FILE` survives it.
    Raises GraphError for what is no graph, and for another way.
    """
    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        raise tg.GraphError(f"there is no way {unknown[0]!r} to check a graph; the ways are {', '.join(WAYS)}")
    graph = only_graph(graph, tg.GraphError, "tgraph.testing.check(program[{name}])")
    outcome = examine({seed: graph}, ways, target=target)[seed]
    if not outcome.trials and outcome:
        outcome.add("reference", "numpy", f"{graph.name} takes none of the inputs that were made for it; type them with a range, "
                    "as in tg.i64[B, S].range(0, 100)")
    return outcome


def examine(programs: Mapping[int, Graph], ways: Collection[str] = WAYS, progress: Callable[[str], None] = lambda step: None,
            target: str = "cpu") -> dict[int, Outcome]:
    """What comes of programs by the seed of their inputs; of several, those that are compiled are compiled together.

    progress: called with the name of each step before it begins.
    """
    cases = {seed: Case(graph, seed) for seed, graph in programs.items()}
    for seed, case in cases.items():
        progress(f"reference of {seed}")
        case.refer()
        for way in ROUND_TRIPS:
            if way in ways:
                _round_trip(case, way)
        if set(ways) & {*PASSES, *KERNELS}:
            interpreted(case, ways, progress)
        _others(case, ways, progress)
    if set(ways) & set(COMPILED):
        if len(cases) > 1:
            in_company(list(cases.values()), ways, progress, target)
        else:
            for case in cases.values():
                alone(case, ways, progress, target)
    return {seed: case.outcome for seed, case in cases.items()}


def _round_trip(case: Case, way: str) -> None:
    try:
        problem = lost(case.graph, way)
    except Exception as error:
        problem = short(error)
    if problem is not None:
        case.outcome.add("changed", way, problem)
    case.outcome.ways[way] += 1


def _others(case: Case, ways: Collection[str], progress: Callable[[str], None]) -> None:
    """PyTorch and the exported ONNX model, whose packages are imported where they are asked."""
    from tgraph.testing import others

    if not case.expected:
        return
    if "torch" in ways:
        progress("torch")
        others.torch(case)
    if {"onnx", "onnx-import"} & set(ways):
        progress("onnx")
        others.onnx(case, ways)
