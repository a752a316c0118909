"""Running a compiled kernel graph on the CPU: inputs in, outputs out, with one arena for all that lies between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from targets.base.interrupts import hold_interrupts
from targets.base.memory import aligned_empty
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.lowering.stages import Plan, Stage
from targets.runtime.arena import Arena
from targets.runtime.engine import BadIndex, Layout, LibraryEngine, Sizes
from targets.runtime.library import Library
from targets.runtime.outputs import Outputs
from targets.runtime.runner import runner
from targets.runtime.tensors import argument, as_tensor, share, shareable
from tgraph.ir.dims import DimLike, evaluate
from tgraph.ir.graph import Graph
from tgraph.ir.values import Input, Node, Parameter, Value

# What a kernel has to do on average, in operations and bytes written, for a second thread to pay. Measured on a quiet Zen 3:
# gains are up to a tenth at 2^16.6, an eighth at 2^17.6, a quarter at 2^18.6; all lose where others hold the second core.
WORTH_SHARING = 1 << 17


class CpuEngine(LibraryEngine):
    """Calls the Relax functions of a library, one a stage, on the runner's thread."""

    def __init__(self, graph: Graph, plan: Plan, library: Library, target: Target):
        super().__init__(graph, plan, library)
        self._calls = [call for stage in self.stages for call in stage.calls]
        self._work: DimLike = sum((c.flops + sum((r.type.nbytes for r in c.results), start=0) for c in self._calls), start=0)
        self._begun = [i for i in graph.inputs if i.name in plan.in_place]
        self._target = target
        self._functions: list[Any] = []
        self._vm: Any = None
        self._runner: Any = None  # that which made it: in a forked child another call may be in the middle of it for ever
        self._told: Callable[..., Any] | None = None  # of nodes that the host runs, while a run is observed
        self._weights: dict[str, list[Any]] = {}  # of each stage, by its name
        self._status = aligned_empty((1,), np.dtype(np.int32))
        self._shared_status = share(self._status)
        self._staging: dict[Value, np.ndarray] = {}  # memory for inputs that TVM cannot share, as large as the largest seen

    def load_prepared(self, prepared: Mapping[str, np.ndarray]) -> None:
        """Take the prepared tensors; arrays that TVM can share are shared, others copied."""
        tensors = {name: as_tensor(prepared[name]) for name in {w.name for stage in self.stages for w in stage.weights}}
        weights = {stage.name: [tensors[weight.name] for weight in stage.weights] for stage in self.stages}

        def take() -> None:
            super(CpuEngine, self).load_prepared(prepared)
            self._weights = weights

        runner().alone(take)  # a call reads either the old ones or the new ones

    def run(self, arrays: Sequence[np.ndarray], sizes: Sizes, out: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, in the arrays of `out` where it has them. Raises BadIndex, and InputError if `out` does not fit."""
        result: dict[str, np.ndarray] = runner()(lambda: self._run(arrays, dict(sizes), out), decides=True)
        return result

    def observe(self, arrays: Sequence[np.ndarray], sizes: Sizes, instrument: Callable[..., Any]) -> Sizes:
        """Run with TVM's virtual machine telling `instrument` of every call, before and after; all sizes, also those found.

        Of nodes that the host runs between stages, `instrument` is told as of calls of `host_...`.
        """
        known = dict(sizes)

        def observed() -> None:
            self._start()
            usual = self._functions
            machine = self._machine()
            machine.set_instrument(instrument)
            self._functions, self._told = self._functions_of(machine), instrument
            try:
                self._run(arrays, known, {})
            finally:
                self._functions, self._told = usual, None

        runner()(observed, decides=True)
        return known

    def observed(self) -> list[Node]:
        """The nodes of which `observe` tells, in order: calls of kernels, and what the host runs between stages."""
        return [n for stage in self.stages for n in (*stage.calls, *([stage.host] if stage.host is not None else []))]

    def run_timed(self, arrays: Sequence[np.ndarray], sizes: Sizes) -> float:
        """Run as usual, and return the seconds spent in the library's functions."""
        spent = 0.0

        def timed(function: Callable[..., Any]) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                nonlocal spent
                start = time.perf_counter()
                function(*arguments)
                spent += time.perf_counter() - start

            return call

        def run() -> None:
            self._start()
            usual = self._functions
            self._functions = [timed(f) for f in usual]
            try:
                self._run(arrays, dict(sizes), {})
            finally:
                self._functions = usual

        runner()(run, decides=True)
        return spent

    def _start(self) -> None:
        if self._runner is not runner():
            # else the first call would end the process
            backend_of(self._target).require_host(self._target, f"graph {self.graph.name}")
            self._vm = self._machine()
            self._functions = self._functions_of(self._vm)
            self._runner = runner()

    def _machine(self) -> Any:
        from targets.base.tvm_api import relax, tvm

        with hold_interrupts():
            # naive: the functions allocate nothing, and the pooled allocator would keep what it once held
            return relax.VirtualMachine(self.library.module, tvm.cpu(), memory_cfg="naive")

    def _functions_of(self, machine: Any) -> list[Any]:
        return [machine[stage.name] for stage in self.stages if stage.calls]

    def _run(self, arrays: Sequence[np.ndarray], known: dict[str, int], out: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._start()
        values: dict[Value, np.ndarray] = dict(zip(self.graph.inputs, arrays))
        outputs = Outputs(self.graph, out, arrays)
        for state in self._begun:
            outputs.begin(state.name, values[state])
        layout = self._layout(known)
        runner().share_work(not layout.alone)
        arena = runner().arena
        memory = arena.memory(layout.arena_bytes)
        functions = iter(self._functions)
        for stage in self.stages:
            if stage.calls:
                self._call(stage, next(functions), values, outputs, known, layout, arena)
            if stage.host is not None:
                self._on_host(stage, values, outputs, known, layout, memory)
        for name, value in self.graph.outputs:  # what no kernel writes: an input, a weight, or one value under two names
            if name not in outputs:
                outputs[name] = self._copy(value, values, outputs)
        return outputs.finish()

    def _call(self, stage: Stage, function: Any, values: dict[Value, np.ndarray], outputs: Outputs,
              sizes: dict[str, int], layout: Layout, arena: Arena) -> None:
        own = self._stage_layout(stage, sizes, layout)
        for name, shape, dtype in own.results:
            if name not in outputs:  # else an earlier stage wrote it, and this one reads it
                outputs.allocate(name, shape, dtype)
        status: list[Any] = []
        if stage.has_status:
            self._status[0] = 0
            status = [self._shared_status]
        function(*[self._feed(v, values[v]) for v in stage.inputs], *self._weights[stage.name],
                 *arena.tensors(own), *[argument(outputs[name]) for name in stage.outputs], *status, *own.sizes)
        if status and self._status[0]:
            raise BadIndex

    def _place(self, sizes: Sizes) -> Layout:
        layout: Layout = super()._place(sizes)
        layout.alone = evaluate(self._work, sizes) < WORTH_SHARING * len(self._calls)
        return layout

    def _feed(self, value: Value, array: np.ndarray) -> Any:
        """An input as an argument: its own memory if TVM can share it, else a copy in memory that is kept for the next call."""
        if shareable(array):
            return argument(array)
        staging = self._staging.get(value)
        if staging is None or staging.nbytes < array.nbytes:
            staging = self._staging[value] = aligned_empty((array.nbytes,), np.dtype(np.uint8))
        copy = staging[:array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return argument(copy)

    def _on_host(self, stage: Stage, values: dict[Value, np.ndarray], outputs: dict[str, np.ndarray],
                 sizes: dict[str, int], layout: Layout, memory: Any) -> None:
        """Run the node between two stages in NumPy; it binds the data-dependent dims that it makes."""
        node = stage.host
        assert node is not None
        operands = [self._read(v, values, outputs, sizes, layout, memory) for v in node.inputs]
        if self._told is not None:
            self._told(None, f"host_{node.op.name}", True, None)
        results = self._interpreter.run_node(node, operands, sizes)
        if self._told is not None:
            self._told(None, f"host_{node.op.name}", False, None)
        values.update(zip(node.results, results))

    def _read(self, value: Value, values: dict[Value, np.ndarray], outputs: dict[str, np.ndarray], sizes: Sizes,
              layout: Layout, memory: Any) -> np.ndarray:
        if value in self.memory.values:
            start = layout.offsets[self.memory.values.index(value)]
            raw = memory.numpy()[start:start + evaluate(value.type.nbytes, sizes)]
            return np.array(raw.view(value.dtype.numpy).reshape(value.type.evaluate(sizes)))
        return self._copy(value, values, outputs)

    def _copy(self, value: Value, values: dict[Value, np.ndarray], outputs: dict[str, np.ndarray]) -> np.ndarray:
        if isinstance(value, Parameter):
            return np.array(self.prepared[value.name])
        if value in values or isinstance(value, Input):
            return np.array(values[value])
        return np.array(next(outputs[name] for name, v in self.graph.outputs if v is value and name in outputs))
