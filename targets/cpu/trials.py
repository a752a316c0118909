"""Timing of kernels outside of their model: on the arguments that they get in it, in turns with variants of them."""

from __future__ import annotations

import abc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from targets.base.memory import aligned_empty
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.base.tvm_api import IRModule
from targets.codegen.signature import lookups
from targets.cpu.engine import CpuEngine
from targets.lowering.stages import call_sizes
from targets.runtime.runner import runner
from targets.runtime.tensors import as_tensor, share
from tgraph.ir.binding import bind_inputs
from tgraph.ir.dims import evaluate
from tgraph.ir.errors import TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Parameter
from tgraph.reference.interpreter import Interpreter

SHORTEST = 1e-3  # seconds that one measurement takes at least; shorter calls are repeated
UNWRITTEN = 0x77  # in each byte of memory for results, so that an element never written is seen

KERNEL = "variant"  # the name of the kernel in a library

Kernel = Any  # what a machine's `build` gives


@dataclass
class Problem:
    """A kernel's arguments in its first call, and its weights in every call: those of another layer are not in the caches.

    arguments: in the order of the kernel's parameters: inputs, memory for results, a status word if it has one, sizes. weights:
    of each call, by position.
    """

    node: Node
    arguments: list[Any]
    weights: list[dict[int, np.ndarray]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.node.attrs["function"].name)

    @property
    def unwritten(self) -> dict[int, np.ndarray]:
        """Memory for results, by position."""
        first = len(self.node.inputs)
        return {place: self.arguments[place] for place in range(first, first + len(self.node.results))}


def find_problems(graph: Graph, engine: CpuEngine, feeds: Mapping[str, Any]) -> dict[str, Problem]:
    """The problems of a graph's kernels, by their names.

    The interpreter computes what each takes, so that it does not matter whether this machine could run them.
    """
    arrays, sizes = bind_inputs(graph, feeds)
    found: dict[str, Problem] = {}

    def observe(node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        function = node.attrs.get("function")
        if not isinstance(function, Graph):  # a node that the host runs
            return
        inputs = [o for o in operands if o is not None]
        weights = {i: inputs[i] for i, value in enumerate(node.inputs) if isinstance(value, Parameter)}
        if function.name not in found:
            own: list[Any] = [array if i in weights else _copy(array) for i, array in enumerate(inputs)]
            own += [_unwritten(array) for array in results]
            own += [np.zeros(1, np.int32)] if lookups(function) else []
            own += [evaluate(size, sizes) for size in call_sizes(engine.graph, node)]
            found[function.name] = Problem(node, own)
        found[function.name].weights.append(weights)

    interpreter = _EachKernelOnce(engine.graph, faithful=True, weights=engine.prepared, observer=observe)
    interpreter.run_bound([arrays[i.name] for i in engine.graph.inputs], sizes)
    return found


class _EachKernelOnce(Interpreter):
    """Computes the first call of each kernel, and takes its results for those of the later ones: layers are much alike."""

    def __init__(self, graph: Graph, **options: Any):
        super().__init__(graph, **options)
        self._computed: dict[Any, tuple[np.ndarray, ...]] = {}

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: Any) -> tuple[np.ndarray, ...]:
        function = node.attrs.get("function")
        if not isinstance(function, Graph):
            return super().apply(node, operands, sizes)
        key = function.name, *(o.shape for o in operands if o is not None)
        if key not in self._computed:
            self._computed[key] = super().apply(node, operands, sizes)
        return self._computed[key]


def _copy(array: np.ndarray) -> np.ndarray:
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _unwritten(array: np.ndarray) -> np.ndarray:
    memory = aligned_empty(array.shape, array.dtype)
    memory.reshape(-1).view(np.uint8)[:] = UNWRITTEN
    return memory


class Trial(abc.ABC):
    """A problem on the machine that solves it."""

    @abc.abstractmethod
    def outputs(self, kernel: Kernel) -> list[np.ndarray]:
        """What a kernel computes from the arguments of the first call. Raises RuntimeError, as TVM does, for one that fails."""

    @abc.abstractmethod
    def seconds(self, kernel: Kernel, calls: int) -> float:
        """The mean time of so many calls, each with the weights of the model's next call."""


class Machine(abc.ABC):
    """Where kernels are built for, run and timed: this process, or another machine."""

    @abc.abstractmethod
    def require(self, target: Target) -> None:
        """Raises TargetError if code for a target does not run there."""

    @abc.abstractmethod
    def build(self, function: Any, target: Target, problem: Problem) -> Kernel:
        """A TIR function as a kernel for a problem of any size. Raises TVM's error for one that does not compile."""

    @abc.abstractmethod
    def bring(self, problem: Problem) -> Trial:
        """A problem whose arguments are in the machine's memory."""


def measure(kernels: Sequence[Kernel], trial: Trial, rounds: int) -> np.ndarray:
    """Seconds of each call [kernels, rounds]: in every round all kernels run, each time in another order, on other weights."""
    times = np.empty((len(kernels), rounds))
    calls = max(1, round(SHORTEST / trial.seconds(kernels[0], 1)))
    for turn in range(rounds):
        for position in _rotated(len(kernels), turn):
            times[position, turn] = trial.seconds(kernels[position], calls)
    return times


def _rotated(count: int, turn: int) -> Iterator[int]:
    return ((turn + i) % count for i in range(count))


class ThisMachine(Machine):
    """The machine that tgraph runs on; kernels run in this process."""

    def require(self, target: Target) -> None:
        if not target.is_host:
            raise TargetError(f"target {target} does not run on this machine, so its kernels cannot be timed here; --rpc times "
                              "them on one that runs it")

    def build(self, function: Any, target: Target, problem: Problem) -> Kernel:
        return build_library(function, target)[KERNEL]

    def bring(self, problem: Problem) -> Trial:
        return _TrialHere(problem)


def build_library(function: Any, target: Target, *more: Any) -> Any:
    """The module of a TIR function, named KERNEL, and of others. Raises TVM's error for one that does not compile."""
    functions = [function.with_attr("global_symbol", KERNEL), *more]
    return backend_of(target).build(IRModule({str(f.attrs["global_symbol"]): f for f in functions}), target)


class _TrialHere(Trial):
    def __init__(self, problem: Problem):
        self.problem, self.turn = problem, 0
        self.weights = [{i: as_tensor(array) for i, array in chosen.items()} for chosen in problem.weights]
        self.arguments = [a if isinstance(a, int) or i in self.weights[0] else share(a) for i, a in enumerate(problem.arguments)]

    def outputs(self, kernel: Kernel) -> list[np.ndarray]:
        results = {place: _copy(array) for place, array in self.problem.unwritten.items()}
        arguments = self._with({**self.weights[0], **{place: share(array) for place, array in results.items()}})
        runner()(lambda: kernel(*arguments))
        return list(results.values())

    def seconds(self, kernel: Kernel, calls: int) -> float:
        found: float = runner()(lambda: self._seconds(kernel, calls))
        return found

    def _seconds(self, kernel: Kernel, calls: int) -> float:
        turns = range(self.turn + 1, self.turn + 1 + calls)
        self.turn = turns[-1] % len(self.weights)
        each = [self._with(self.weights[turn % len(self.weights)]) for turn in turns]
        start = time.perf_counter()
        for arguments in each:
            kernel(*arguments)
        return (time.perf_counter() - start) / calls

    def _with(self, others: Mapping[int, Any]) -> list[Any]:
        return [others.get(position, argument) for position, argument in enumerate(self.arguments)]


def cpu_engine(engine: Any, target: Target) -> CpuEngine:
    """The engine as one of a CPU's kernels. Raises TargetError if it is none."""
    if not isinstance(engine, CpuEngine):
        raise TargetError(f"target {target} has no kernels that could be tuned; CPUs' have")
    return engine
