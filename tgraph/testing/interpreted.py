"""What passes leave of a program, run by the reference: the graph at each level, and the graphs of kernels of two targets.

Nothing is compiled, so a program takes milliseconds; what emitters and code generators do is not looked at.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from passes.manager import optimize
from passes.pipelines import passes_of
from passes.snapshot import snapshot
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.program import as_program
from tgraph.ir.verify import verify
from tgraph.reference.interpreter import Interpreter
from tgraph.testing.case import Case
from tgraph.testing.findings import kind_of, short
from tgraph.testing.ways import KERNELS, PASSES

LAST = tuple(PASSES)[-1]  # the level whose graph is brought down to kernels


def interpreted(case: Case, ways: Collection[str], progress: Callable[[str], None]) -> None:
    """Go those of the ways PASSES and KERNELS that are asked for."""
    kernels = [way for way in KERNELS if way in ways]
    wanted = [way for way in PASSES if way in ways or (kernels and way == LAST)]
    known = [snapshot(case.graph)]
    for way, make in after_passes(case.graph, wanted):
        progress(way)
        try:
            graph = make()
            verify(graph)
        except Exception as error:
            case.outcome.add(kind_of(error), way, short(error))
            return
        content = snapshot(graph)
        if way in ways and (content in known or right(case, graph, way)):
            case.outcome.ways[way] += bool(case.expected)
            known.append(content)
        if way == LAST:
            for target in kernels:
                progress(target)
                _kernels(case, graph, target)


def after_passes(graph: Graph, ways: Collection[str]) -> Iterator[tuple[str, Callable[[], Graph]]]:
    """For each way what makes its graph; the passes that all begin with run once."""
    pipelines = {way: passes_of(PASSES[way]) for way in ways}
    texts = zip(*(map(str, pipeline) for pipeline in pipelines.values()))
    shared = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, texts))
    begun = functools.cache(lambda: optimize(graph, next(iter(pipelines.values()))[:shared]))
    for way, pipeline in pipelines.items():
        yield way, lambda rest=pipeline[shared:]: optimize(begun(), rest)  # type: ignore[misc]


def right(case: Case, graph: Graph, way: str, weights: Mapping[str, np.ndarray] | None = None) -> bool:
    """Whether a graph with the inputs and outputs of the case's, in that order, gives what the reference gives of that one."""
    interpreter = Interpreter(graph, faithful=True, weights=weights)
    for trial, expectation in case.expected.items():
        try:
            found = interpreter.run(dict(zip([i.name for i in graph.inputs], expectation.feeds.values())))
        except Exception as error:
            case.outcome.add(kind_of(error), way, f"in the call, {case.sizes(trial)}: {short(error)}")
            return False
        problem = case.compare(dict(zip([n for n, _ in case.graph.outputs], found.values())), trial, strict=False)
        if problem is not None:
            case.outcome.add("wrong", way, f"{problem}\n  {case.sizes(trial)}")
            return False
    return True


def _kernels(case: Case, graph: Graph, way: str) -> None:
    """The graph of kernels that a target makes of an optimised graph, apart from what depends on weights alone."""
    from targets.lowering.pipeline import kernel_graph
    from targets.lowering.split_prepare import split_prepare
    from targets.lowering.stages import plan_program

    try:
        program = kernel_graph(as_program(graph, CompileError), _target(KERNELS[way]))
        prepare, rest = split_prepare(program)
        plan_program(rest)
        prepared = Interpreter(prepare, faithful=True, weights=program.weights).run_bound([], {})
    except Exception as error:
        case.outcome.add(kind_of(error), way, short(error))
        return
    case.outcome.ways[way] += right(case, rest[graph.name], way, prepared) and bool(case.expected)


@functools.cache
def _target(text: str) -> Any:
    from targets.base.target import Target

    return Target.parse(text)
