"""Timing of kernels outside of their model: on the arguments that they get in it, in turns with variants of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from targets.base.memory import aligned_empty
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.base.tvm_api import IRModule, tvm
from targets.cpu.engine import CpuEngine
from targets.runtime.runner import runner
from targets.runtime.tensors import share
from tgraph.ir.binding import bind_inputs
from tgraph.ir.errors import TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Parameter

SHORTEST = 1e-3  # seconds that one measurement takes at least; shorter calls are repeated


@dataclass
class Problem:
    """A kernel's arguments in its first call, and its weights in every call: those of another layer are not in the caches."""

    node: Node
    arguments: list[Any]
    weights: list[dict[int, Any]] = field(default_factory=list)
    turn: int = 0

    def next_arguments(self) -> list[Any]:
        """The arguments with the weights of the next call."""
        self.turn = (self.turn + 1) % len(self.weights)
        chosen = self.weights[self.turn]
        return [chosen.get(position, argument) for position, argument in enumerate(self.arguments)]

    def outputs(self, kernel: Any) -> list[np.ndarray]:
        """What a kernel computes from the arguments of the first call."""
        first = len(self.node.inputs)
        places = range(first, first + len(self.node.results))
        arguments = [self.weights[0].get(position, argument) for position, argument in enumerate(self.arguments)]
        for place in places:
            arguments[place] = _copy(arguments[place], fill=0x77)  # an element never written is seen
        runner()(lambda: kernel(*arguments))
        return [arguments[place].numpy() for place in places]


def find_problems(graph: Graph, engine: CpuEngine, feeds: Mapping[str, Any]) -> dict[str, Problem]:
    """Run a graph once, and keep the arguments of each kernel by its name."""
    arrays, sizes = bind_inputs(graph, feeds)
    calls = iter([n for stage in engine.stages for n in stage.calls])
    found: dict[str, Problem] = {}

    def instrument(function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        if not (before and name.startswith("kernel_")):
            return 0
        node = next(calls)
        weights = {i: arguments[i] for i, value in enumerate(node.inputs) if isinstance(value, Parameter)}
        kernel = node.attrs["function"].name
        if kernel not in found:
            own = [a if i in weights or not isinstance(a, tvm.runtime.Tensor) else _copy(a) for i, a in enumerate(arguments)]
            found[kernel] = Problem(node, own)
        found[kernel].weights.append(weights)
        return 0

    engine.observe([arrays[i.name] for i in graph.inputs], sizes, instrument)
    return found


def _copy(tensor: Any, fill: int | None = None) -> Any:
    array = tensor.numpy()
    copy = aligned_empty(array.shape, array.dtype)
    if fill is None:
        copy[...] = array
    else:
        copy.reshape(-1).view(np.uint8)[:] = fill
    return share(copy)


def build_kernels(functions: Sequence[Any], target: Target) -> list[Any]:
    """TIR functions as callables; TVM's error for those that do not compile."""
    named = {f"variant_{i}": f.with_attr("global_symbol", f"variant_{i}") for i, f in enumerate(functions)}
    library = backend_of(target).build(IRModule(named), target)
    return [library[name] for name in named]


def measure(kernels: Sequence[Any], problem: Problem, rounds: int) -> np.ndarray:
    """Seconds of each call [kernels, rounds]: in every round all kernels run, each time in another order, on other weights."""
    def all_rounds() -> np.ndarray:
        times = np.empty((len(kernels), rounds))
        repeats = max(1, round(SHORTEST / _time(kernels[0], problem, 1)))
        for turn in range(rounds):
            for position in _rotated(len(kernels), turn):
                times[position, turn] = _time(kernels[position], problem, repeats)
        return times

    found: np.ndarray = runner()(all_rounds)
    return found


def _time(kernel: Any, problem: Problem, repeats: int) -> float:
    arguments = [problem.next_arguments() for _ in range(repeats)]
    start = time.perf_counter()
    for given in arguments:
        kernel(*given)
    return (time.perf_counter() - start) / repeats


def _rotated(count: int, turn: int) -> Iterator[int]:
    return ((turn + i) % count for i in range(count))


def cpu_engine(engine: Any, target: Target) -> CpuEngine:
    """The engine as one whose kernels run on this machine. Raises TargetError if they do not."""
    if not isinstance(engine, CpuEngine) or not target.is_host:
        raise TargetError(f"target {target} does not run on this machine, so its kernels cannot be timed")
    return engine
