"""Running a compiled kernel graph: inputs in, outputs out, with one arena for all that lies between."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from targets.library import Library
from targets.memory import aligned_empty
from targets.outputs import Outputs
from targets.runner import runner
from targets.stages import Stage, plan_stages, size_limits
from targets.tensors import as_tensor, share, shareable
from tgraph.ir.dims import evaluate
from tgraph.ir.graph import Graph
from tgraph.ir.values import Input, Parameter, Value
from tgraph.reference.interpreter import Interpreter

Sizes = Mapping[str, int]
REMEMBERED = 256  # plans of memory for so many different sizes


class BadIndex(Exception):
    """A kernel met an index outside of its table; the interpreter knows which."""


@dataclass
class Layout:
    """Offsets in the arena for one choice of sizes, and for each stage its `plan` and what it writes."""

    offsets: list[int]
    arena_bytes: int
    stages: dict[str, tuple[Any, list[tuple[str, Any, Any]]]] = field(default_factory=dict)


class Engine(Protocol):
    """What executes a graph for a target."""

    def run(self, arrays: Sequence[np.ndarray], sizes: Sizes, out: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...

    def load_prepared(self, prepared: Mapping[str, np.ndarray]) -> None: ...


class NumpyEngine:
    """The target `numpy`: the interpreter, at the precision of the types."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.weights: Mapping[str, np.ndarray] = {}

    def load_prepared(self, prepared: Mapping[str, np.ndarray]) -> None:
        self.weights = prepared

    def run(self, arrays: Sequence[np.ndarray], sizes: Sizes, out: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = Outputs(self.graph, out)
        outputs.update(Interpreter(self.graph, faithful=True, weights=self.weights).run_bound(arrays, dict(sizes)))
        return outputs.finish()


class CpuEngine:
    """Calls the Relax functions of a library, one a stage, on the runner's thread."""

    def __init__(self, graph: Graph, library: Library):
        self.graph = graph
        self.library = library
        self.stages, self.plan = plan_stages(graph)
        self.limits = size_limits(graph)
        self._functions: list[Any] = []
        self._vm: Any = None
        self._weights: dict[str, Any] = {}
        self._status = aligned_empty((1,), np.dtype(np.int32))
        self._staging: dict[Value, np.ndarray] = {}  # memory for inputs that TVM cannot share, as large as the largest seen
        self.prepared: dict[str, np.ndarray] = {}
        self._interpreter = Interpreter(graph, faithful=True, weights=self.prepared)  # of the nodes between stages
        self._layouts: OrderedDict[tuple[tuple[str, int], ...], Layout] = OrderedDict()

    def load_prepared(self, prepared: Mapping[str, np.ndarray]) -> None:
        """Take the prepared tensors; arrays at addresses that are multiples of 64 are shared, others copied."""
        self.prepared = dict(prepared)
        self._interpreter = Interpreter(self.graph, faithful=True, weights=self.prepared)
        self._weights = {name: as_tensor(array) for name, array in prepared.items()}

    def run(self, arrays: Sequence[np.ndarray], sizes: Sizes, out: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, in the arrays of `out` where it has them. Raises BadIndex, and InputError if `out` does not fit."""
        result: dict[str, np.ndarray] = runner()(lambda: self._run(arrays, dict(sizes), out))
        return result

    def observe(self, arrays: Sequence[np.ndarray], sizes: Sizes, instrument: Callable[..., Any]) -> Sizes:
        """Run with TVM's virtual machine telling `instrument` of every call, before and after; all sizes, also those found."""
        known = dict(sizes)

        def observed() -> None:
            self._start()
            self._vm.set_instrument(instrument)
            try:
                self._run(arrays, known, {})
            finally:
                self._vm = None  # a fresh machine has no instrument
                self._functions = []

        runner()(observed)
        return known

    def _start(self) -> None:
        from targets.tvm_api import relax, tvm

        if self._vm is None:
            # naive: the functions allocate nothing, and the pooled allocator would keep what it once held
            self._vm = relax.VirtualMachine(self.library.module, tvm.cpu(), memory_cfg="naive")
            self._functions = [self._vm[stage.name] for stage in self.stages if stage.calls]

    def _run(self, arrays: Sequence[np.ndarray], known: dict[str, int], out: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._start()
        values: dict[Value, np.ndarray] = dict(zip(self.graph.inputs, arrays))
        outputs = Outputs(self.graph, out, arrays)
        layout = self._layout(known)
        arena = runner().arena(layout.arena_bytes)
        functions = iter(self._functions)
        for stage in self.stages:
            if stage.calls:
                self._call(stage, next(functions), values, outputs, known, layout, arena)
            if stage.host is not None:
                self._on_host(stage, values, outputs, known, layout, arena)
        for name, value in self.graph.outputs:  # what no kernel writes: an input, a weight, or one value under two names
            if name not in outputs:
                outputs[name] = self._copy(value, values, outputs)
        return outputs.finish()

    def _call(self, stage: Stage, function: Any, values: dict[Value, np.ndarray], outputs: Outputs,
              sizes: dict[str, int], layout: Layout, arena: Any) -> None:
        plan, results = self._stage_layout(stage, sizes, layout)
        for name, shape, dtype in results:
            if name not in outputs:  # else an earlier stage wrote it, and this one reads it
                outputs.allocate(name, shape, dtype)
        status: list[Any] = []
        if stage.has_status:
            self._status[0] = 0
            status = [share(self._status)]
        function(*[self._feed(v, values[v]) for v in stage.inputs], *[self._weights[w.name] for w in stage.weights], arena,
                 *[share(outputs[name]) for name in stage.outputs], *status, plan)
        if status and self._status[0]:
            raise BadIndex

    def _stage_layout(self, stage: Stage, sizes: Sizes, layout: Layout) -> tuple[Any, list[tuple[str, Any, Any]]]:
        """The `plan` argument of a stage, and name, shape and element type of the outputs that it writes.

        Remembered where all sizes are known from the inputs.
        """
        if stage.name in layout.stages:
            return layout.stages[stage.name]
        from targets.tvm_api import tvm

        plan = [sizes[s] for s in stage.symbols] + [evaluate(e, sizes) for e in stage.extents]
        plan += [layout.offsets[number] for number in stage.places]
        types = {name: value.type for name, value in self.graph.outputs}
        results = [(n, types[n].evaluate(sizes), types[n].dtype.numpy) for n in stage.outputs]
        made = tvm.runtime.ShapeTuple(plan), results
        if not self.limits:
            layout.stages[stage.name] = made
        return made

    def _feed(self, value: Value, array: np.ndarray) -> Any:
        """An input as a tensor: its own memory if TVM can share it, else a copy in memory that is kept for the next call."""
        if shareable(array):
            return share(array)
        staging = self._staging.get(value)
        if staging is None or staging.nbytes < array.nbytes:
            staging = self._staging[value] = aligned_empty((array.nbytes,), np.dtype(np.uint8))
        copy = staging[:array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return share(copy)

    def _on_host(self, stage: Stage, values: dict[Value, np.ndarray], outputs: dict[str, np.ndarray],
                 sizes: dict[str, int], layout: Layout, arena: Any) -> None:
        """Run the node between two stages in NumPy; it binds the dims that it decides."""
        node = stage.host
        assert node is not None
        operands = [self._read(v, values, outputs, sizes, layout, arena) for v in node.inputs]
        results = self._interpreter.run_node(node, operands, sizes)
        values.update(zip(node.results, results))

    def _read(self, value: Value, values: dict[Value, np.ndarray], outputs: dict[str, np.ndarray], sizes: Sizes,
              layout: Layout, arena: Any) -> np.ndarray:
        if value in self.plan.values:
            start = layout.offsets[self.plan.values.index(value)]
            raw = arena.numpy()[start:start + evaluate(value.type.nbytes, sizes)]
            return np.array(raw.view(value.dtype.numpy).reshape(value.type.evaluate(sizes)))
        return self._copy(value, values, outputs)

    def _copy(self, value: Value, values: dict[Value, np.ndarray], outputs: dict[str, np.ndarray]) -> np.ndarray:
        if isinstance(value, Parameter):
            return np.array(self.prepared[value.name])
        if value in values or isinstance(value, Input):
            return np.array(values[value])
        return np.array(next(outputs[name] for name, v in self.graph.outputs if v is value and name in outputs))

    def _layout(self, sizes: Sizes) -> Layout:
        """Where everything lies for these sizes; those met lately are remembered."""
        key = tuple(sorted(sizes.items()))
        found = self._layouts.get(key)
        if found is None:
            bound = {**sizes, **{n: evaluate(limit, sizes) for n, limit in self.limits.items() if n not in sizes}}
            found = self._layouts[key] = Layout(*self.plan.place(bound))
            if len(self._layouts) > REMEMBERED:
                self._layouts.popitem(last=False)
        else:
            self._layouts.move_to_end(key)
        return found
