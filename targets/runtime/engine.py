"""Engines, which execute compiled graphs, and what all engines over a library of kernels share."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from targets.base.memory import aligned_empty, aligned_zeros
from targets.lowering.stages import Plan, Stage, device_bounds, host_bounds
from targets.runtime.library import Library
from targets.runtime.outputs import check_host_buffers
from tgraph.ir.dims import evaluate
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node
from tgraph.reference.interpreter import Interpreter

Sizes = Mapping[str, int]
REMEMBERED = 256  # plans of memory for so many different sizes


class BadIndex(Exception):
    """A kernel met an index outside of its table; the interpreter knows which."""


@dataclass(eq=False)
class StageLayout:
    """What a stage takes at one choice of sizes.

    places: shape, element type and offset in the arena of each value between kernels; results: name, shape and element type of
    the outputs that it writes; sizes: the numbers that are its last arguments. comes_again: whether a call of the same sizes has
    this very layout.
    """

    places: list[tuple[tuple[int, ...], str, int]]
    results: list[tuple[str, tuple[int, ...], np.dtype[Any]]]
    sizes: list[int]
    comes_again: bool


@dataclass
class Layout:
    """Offsets in the arena for one choice of sizes, and what each stage takes.

    alone: whether one thread does it all, as handing work to others would take longer than they would save.
    """

    offsets: list[int]
    arena_bytes: int
    alone: bool = False
    stages: dict[str, StageLayout] = field(default_factory=dict)


class Engine(Protocol):
    """What executes a graph for a target. Arrays are NumPy's, or such as `adopt` gives.

    in_place: the states that a run updates in place, if their array is given for the input and for the output.
    """

    in_place: frozenset[str]

    def adopt(self, value: Any) -> Any:
        """A value as an array of the engine's own kind, which `run` takes beside NumPy's; None if it is none."""

    def adopt_buffers(self, out: Mapping[str, Any]) -> Mapping[str, Any]:
        """The caller's memory for outputs as the arrays that `run` takes. Raises InputError for what cannot be written."""

    def run(self, arrays: Sequence[Any], sizes: Sizes, out: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, in the arrays of `out` where it has them. Raises BadIndex, and InputError if `out` does not fit."""

    def load_prepared(self, prepared: Mapping[str, np.ndarray]) -> None:
        """Take the tensors that kernels read."""

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """An array of zeros, of the engine's own kind, for a state."""

    def bring(self, array: Any) -> Any:
        """A copy of a NumPy array, or of one of the engine's own kind, as one of its own kind."""

    def take(self, array: Any, rows: Sequence[int], axis: int) -> Any:
        """A copy of some rows of such an array along an axis, in that order."""


class Clock(Protocol):
    """A timer of kernels: told before and after each, it gives the `seconds` of all, in order, when the run is over."""

    def tick(self, before: bool) -> None: ...

    def seconds(self) -> list[float]: ...


class HostClock:
    """A timer of kernels that end before their call returns."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._start = 0.0

    def tick(self, before: bool) -> None:
        if before:
            self._start = time.perf_counter()
        else:
            self._seconds.append(time.perf_counter() - self._start)

    def seconds(self) -> list[float]:
        return self._seconds


class HostEngine:
    """Base of the engines whose arrays are NumPy's."""

    in_place: frozenset[str] = frozenset()

    def adopt(self, value: Any) -> Any:
        return None

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return aligned_zeros(shape, dtype)

    def bring(self, array: Any) -> Any:
        own = aligned_empty(array.shape, array.dtype)
        own[...] = array
        return own

    def take(self, array: Any, rows: Sequence[int], axis: int) -> Any:
        chosen = aligned_empty((*array.shape[:axis], len(rows), *array.shape[axis + 1:]), array.dtype)
        return np.take(array, np.asarray(rows, np.int64), axis=axis, out=chosen, mode="clip")  # the caller checks them

    def adopt_buffers(self, out: Mapping[str, Any]) -> Mapping[str, Any]:
        if out:
            check_host_buffers(out)
        return out


class LibraryEngine(HostEngine):
    """Base of the engines that call the Relax functions of a library, one a stage."""

    def __init__(self, graph: Graph, plan: Plan, library: Library):
        self.graph = graph
        self.library = library
        self.stages, self.memory, self.in_place = plan.stages, plan.memory, plan.in_place
        self.host_bounds, self.device_bounds = host_bounds(graph), device_bounds(graph)
        self.prepared: dict[str, np.ndarray] = {}
        self._types = {name: value.type for name, value in graph.outputs}
        self._interpreter = Interpreter(graph, faithful=True, weights=self.prepared)  # of the nodes between stages
        self._layouts: OrderedDict[tuple[tuple[str, int], ...], Any] = OrderedDict()

    def load_prepared(self, prepared: Mapping[str, np.ndarray]) -> None:
        """Take the prepared tensors."""
        self.prepared = dict(prepared)
        self._interpreter = Interpreter(self.graph, faithful=True, weights=self.prepared)

    def run(self, arrays: Sequence[Any], sizes: Sizes, out: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def observe(self, arrays: Sequence[Any], sizes: Sizes, instrument: Callable[..., Any]) -> Sizes:
        """Run with TVM's virtual machine telling `instrument` of every call, before and after; all sizes, also those found."""
        raise NotImplementedError

    def observed(self) -> list[Node]:
        """The nodes of which `observe` tells, in order: the calls of kernels."""
        return [call for stage in self.stages for call in stage.calls]

    def run_timed(self, arrays: Sequence[Any], sizes: Sizes) -> float | None:
        """Run as usual, and return the seconds spent in the library's functions; None if kernels go on after these return."""
        self.run(arrays, sizes, {})
        return None

    def layout(self, sizes: Sizes) -> Layout:
        """How a call at these sizes lays out its memory; data-dependent sizes that are not given are at their upper bounds."""
        return self._place(self.upper_bounds(sizes))

    def upper_bounds(self, sizes: Sizes) -> Sizes:
        """The sizes, with upper bounds of those that only a run finds."""
        bounds = {**self.host_bounds, **self.device_bounds}
        return {**sizes, **{n: evaluate(bound, sizes) for n, bound in bounds.items() if n not in sizes}}

    def clock(self) -> Clock:
        """A clock for the kernels of one observed run."""
        return HostClock()

    def _stage_layout(self, stage: Stage, sizes: Sizes, layout: Layout) -> StageLayout:
        """What a stage takes; remembered where all sizes are known from the inputs."""
        found = layout.stages.get(stage.name)
        if found is None:
            values = [(self.memory.values[number], layout.offsets[number]) for number in stage.places]
            found = StageLayout(
                [(value.type.evaluate(sizes), value.dtype.numpy_name, offset) for value, offset in values],
                [(name, self._types[name].evaluate(sizes), self._types[name].dtype.numpy) for name in stage.outputs],
                [evaluate(size, sizes) for size in stage.sizes], not self.host_bounds)
            if found.comes_again:
                layout.stages[stage.name] = found
        return found

    def _layout(self, sizes: Sizes) -> Any:
        """The layout of memory for these sizes; recent ones are remembered."""
        key = tuple(sorted(sizes.items()))
        found = self._layouts.get(key)
        if found is None:
            found = self._layouts[key] = self.layout(sizes)
            if len(self._layouts) > REMEMBERED:
                self._layouts.popitem(last=False)
        else:
            self._layouts.move_to_end(key)
        return found

    def _place(self, sizes: Sizes) -> Any:
        return Layout(*self.memory.place(sizes))
