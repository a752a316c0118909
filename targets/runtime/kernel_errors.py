"""How far the results of an executable's kernels are from the reference, all of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.runtime.history import calls_in
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node
from tgraph.ir.weights import Weights
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.statistics import Statistics
from tgraph.reference.tolerance import compare

if TYPE_CHECKING:
    from targets.runtime.executable import Executable


@dataclass(frozen=True)
class KernelError:
    """max|y - r| / max(1, max|r|) of the first result of a call, and what values the reference has there."""

    error: float
    statistics: Mapping[str, Any]


def kernel_errors(exe: Executable, graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[Node, KernelError]:
    """The error of each call of kernels in a graph, the last one of the executable's history, of those that give floats.

    All are of one run on `feeds`, so that errors build up along the graph as they do in use. The graph is compiled once more with
    the results of the calls as outputs, which it then writes in any case.
    """
    part = graph.copy(f"{graph.name}_kernels")
    calls = {copy: node for node, copy in zip(calls_in(graph), calls_in(part)) if node.results[0].dtype.is_float}
    part.weights, part.states = Weights(), {}
    for name in part.parameters:
        part.weights.set(name, exe.weights[name])
    part.set_outputs((f"call{i}", copy.results[0]) for i, copy in enumerate(calls))
    if not calls:
        return {}
    exact = Interpreter(part).run(feeds)
    actual = exe.alone(part)(feeds)
    return {node: KernelError(compare(np.asarray(actual[name]), exact[name], 0.0).error, _statistics(exact[name]))
            for node, name in zip(calls.values(), exact)}


def _statistics(values: np.ndarray) -> dict[str, Any]:
    """Shape, range and spread of some values, and how many are no numbers."""
    of = Statistics.of(values)
    odd = of.nans + of.infinities
    found: dict[str, Any] = {"shape": " x ".join(map(str, of.shape)) or "a number"}
    if finite := values.size - odd:
        numbers = {"smallest": of.low, "largest": of.high, "mean": of.mean, "deviation": of.std, "zeros": of.zeros / finite}
        found |= {name: float(f"{number:.4g}") for name, number in numbers.items()}
    if odd:
        found["NaN or infinite"] = odd
    return found
