"""Whether what is timed is right: each workload's outputs against the reference, and their bits at one thread and at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import tgraph as tg
from benchmarks.workload import ModelWorkload, Workload
from tgraph.ir.graph import Graph
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.tolerance import compare, tolerance

LARGE = 2**29  # elements of a result above which the reference computes in f32: in f64 its copies would not fit


@dataclass(frozen=True)
class Verdict:
    """A point: largest error against the reference, what is allowed, and whether the bits depend on the number of threads."""

    workload: str
    point: str
    error: float
    allowed: float
    same_bits: bool

    @property
    def ok(self) -> bool:
        return self.error <= self.allowed and self.same_bits


def check(known: Mapping[str, Workload], chosen: Mapping[str, Sequence[str]], threads: int,
          progress: Callable[[str], None]) -> Iterator[Verdict]:
    """A verdict for each point of f32 workloads of models; those in fewer bits have their own report of accuracy."""
    for name, points in chosen.items():
        workload = known[name]
        if not isinstance(workload, ModelWorkload) or workload.reduced:
            continue
        graph = workload.graph()
        exe = tg.compile(graph, passes=workload.passes) if workload.passes else tg.compile(graph)
        # what a pass changed on purpose, such as padded rows that are now zero, is no error of the kernels
        meaning = exe.optimized if workload.passes else graph
        for point in points:
            progress(f"{name} {point}")
            yield _verdict(workload, graph, exe, meaning, point, threads)


def _verdict(workload: ModelWorkload, graph: Graph, exe: tg.Executable, meaning: Graph, point: str, threads: int) -> Verdict:
    worst, allowed, same = 0.0, 0.0, True
    for plan in workload.point(graph, point).plans.values():
        for feeds in plan:
            given = {i.name: feeds[i.name] for i in graph.inputs}
            outputs = {}
            for count in (1, threads):
                tg.set_num_threads(count)
                outputs[count] = exe.run(given)
            wanted = Interpreter(meaning, faithful=_largest(graph, feeds) > LARGE, weights=exe.weights).run(given)
            for name, value in graph.outputs:
                result = compare(outputs[threads][name], wanted[name], tolerance(value.dtype))
                worst, allowed = max(worst, result.error), result.tolerance
                same &= outputs[1][name].tobytes() == outputs[threads][name].tobytes()
    return Verdict(workload.name, point, worst, allowed, same)


def _largest(graph: Graph, feeds: Mapping[str, np.ndarray]) -> int:
    """The most elements of any score matrix of an attention."""
    from tgraph.ir.binding import bind_inputs
    from tgraph.ir.dims import evaluate

    _, sizes = bind_inputs(graph, feeds)
    return max((evaluate(n.inputs[0].type.size // n.inputs[0].shape[-1] * n.inputs[1].shape[2], sizes)
                for n in graph.nodes if n.op.name == "attention"), default=0)
