"""Running a compiled kernel graph on a GPU: weights and all that lies between stay there, results go where they are wanted."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from targets.base.interrupts import hold_interrupts
from targets.base.target import ALIGNMENT
from targets.cuda import blas
from targets.cuda.array import DeviceArray, adopt, alias, new, on_gpu
from targets.cuda.device import ON_DEVICE, TO_DEVICE, TO_HOST, CudaDevice, cuda_device
from targets.cuda.runtime import require_device
from targets.cuda.weights import DeviceWeights
from targets.lowering.stages import Plan, Stage, makes_dim
from targets.runtime.engine import REMEMBERED, Layout, LibraryEngine, Sizes
from targets.runtime.library import Library
from targets.runtime.outputs import check_apart, check_host_buffers
from tgraph.ir.dims import evaluate
from tgraph.ir.errors import InputError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value

GRAPHS = 32  # CUDA graphs that an executable keeps


@dataclass
class CudaLayout(Layout):
    """A layout with slots behind the values: for inputs and what the host makes (which are staged, by the slot's distance from
    `staged`), and for outputs by name. `views`: tensors over parts of the arena, for one generation of the arena."""

    staged: int = 0
    staged_bytes: int = 0
    slots: dict[Value | str, int] = field(default_factory=dict)
    generation: int = 0
    views: dict[Hashable, Any] = field(default_factory=dict)


class CudaClock:
    """Takes the time on the device, between kernels of a captured run."""

    def __init__(self, device: CudaDevice):
        self.device = device
        self._events: list[Any] = []

    def tick(self, before: bool) -> None:
        self._events.append(self.device.event())
        self.device.record_in_capture(self._events[-1])

    def seconds(self) -> list[float]:
        found = [self.device.seconds(start, end) for start, end in zip(self._events[::2], self._events[1::2])]
        for event in self._events:
            self.device.call("cudaEventDestroy", event)
        self._events = []
        return found


class CudaEngine(LibraryEngine):
    """Calls the Relax functions of a library on device 0, one call at a time.

    graphs: whether what a stage launches is captured as a CUDA graph when its sizes come a second time, and replayed after that.
    """

    def __init__(self, graph: Graph, plan: Plan, library: Library, arch: str, weights: DeviceWeights, graphs: bool = True):
        super().__init__(graph, plan, library)
        blas.register()
        self.arch, self.graphs = arch, graphs
        self.has_status = any(stage.has_status for stage in self.stages)
        self._weights = weights
        self.device_extents: dict[str, Any] = {}  # on the device, each i64[1]
        self.status: Any = None  # on the device; kernels set it, and it stays set
        self._seen: np.ndarray | None = None  # its copy on the host, which every call renews
        self._vm: Any = None
        self._observed = False
        self._functions: dict[str, Any] = {}
        self._captured: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()
        self._met: OrderedDict[Hashable, None] = OrderedDict()

    def adopt(self, value: Any) -> Any:
        return adopt(value) if on_gpu(value) else None

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> DeviceArray:
        return self.bring(np.zeros(shape, dtype))

    def bring(self, array: Any) -> DeviceArray:
        own = self._own(tuple(array.shape), array.dtype)
        device = cuda_device()
        with device.use():
            if isinstance(array, DeviceArray):
                device.copy(own.address, array.address, array.nbytes, ON_DEVICE)
            else:
                host = np.ascontiguousarray(array)
                device.copy(own.address, host.ctypes.data, host.nbytes, TO_DEVICE)
                device.synchronize()  # before `host` goes
        return own

    def take(self, array: DeviceArray, rows: Sequence[int], axis: int) -> DeviceArray:
        chosen = self._own((*array.shape[:axis], len(rows), *array.shape[axis + 1:]), array.dtype)
        size = math.prod(array.shape[axis + 1:]) * array.dtype.itemsize
        device = cuda_device()
        with device.use():
            for outer in range(math.prod(array.shape[:axis])):
                for i, row in enumerate(rows):
                    to, source = outer * len(rows) + i, outer * array.shape[axis] + row
                    device.copy(chosen.address + to * size, array.address + source * size, size, ON_DEVICE)
        return chosen

    def _own(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> DeviceArray:
        """Memory for a state, on the GPU that this engine's code runs on."""
        with hold_interrupts():
            require_device(self.arch)
        return new(shape, dtype, self.check)

    def adopt_buffers(self, out: Mapping[str, Any]) -> Mapping[str, Any]:
        there = {name: alias(array) for name, array in out.items() if on_gpu(array)}
        check_host_buffers({name: array for name, array in out.items() if name not in there})
        check_apart(there, DeviceArray.overlaps)
        return {**out, **there}

    @property
    def weights(self) -> Mapping[str, Any]:
        """The prepared tensors on the device."""
        return self._weights.tensors

    def load_prepared(self, prepared: Mapping[str, np.ndarray]) -> None:
        """Take the prepared tensors. They go to the device at the first call, and from then on at once."""
        super().load_prepared(prepared)
        self._weights.take(prepared)

    def run(self, arrays: Sequence[Any], sizes: Sizes, out: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name: in the arrays of `out` where it has them, on the device if an input is there, else NumPy arrays.

        Raises BadIndex; InputError if `out` does not fit, or for an index of an earlier call whose outputs stayed on the device;
        TargetError if the GPU cannot run this, or has no memory for it.
        """
        from targets.cuda.call import Call

        device = cuda_device()
        with device.use():
            self._start(device)
            self.check()
            return Call(self, device, arrays, dict(sizes), out).run()

    def observe(self, arrays: Sequence[Any], sizes: Sizes, instrument: Callable[..., Any]) -> Sizes:
        """Run with TVM's virtual machine telling `instrument` of every call, before and after; all sizes, also those found.

        The calls are captured, so that the GPU then runs them without waiting for the host. All kernels must have run before.
        """
        from targets.cuda.call import Call

        device, known = cuda_device(), dict(sizes)
        with device.use():
            self._start(device)
            self._vm.set_instrument(instrument)
            self._observed = True
            try:
                Call(self, device, arrays, known, {}).run()
                device.synchronize()
            finally:
                self._vm, self._functions, self._observed = None, {}, False  # a fresh machine has no instrument
                for _, executable in self._captured.values():  # what it ran is not the fresh one's
                    device.forget(executable)
                self._captured.clear()
                self._met.clear()
            self._start(device)  # so that no later call has to
        return known

    def run_timed(self, arrays: Sequence[Any], sizes: Sizes) -> None:
        """Run as usual, and wait for the device, also where outputs stay there."""
        self.run(arrays, sizes, {})
        device = cuda_device()
        with device.use():
            device.synchronize()

    def clock(self) -> CudaClock:
        return CudaClock(cuda_device())

    def check(self) -> None:
        """Raises InputError if a call whose outputs stayed on the device met an index outside of its table."""
        if self._seen is not None and self._seen[0]:
            self.forget_status()
            raise InputError(f"{self.graph.name}: an index of an earlier call, whose outputs stayed on the GPU, was outside of "
                             "its table; a call with inputs from the host names the index")

    def bad_index(self) -> bool:
        """Whether an index was bad, as of the last copy of the status; it is then forgotten."""
        bad = self._seen is not None and bool(self._seen[0])
        if bad:
            self.forget_status()
        return bad

    def read_status(self, device: CudaDevice) -> None:
        """Begin to copy the status to the host."""
        if self._seen is not None:
            device.copy(self._seen.ctypes.data, int(self.status.data_ptr()), 4, TO_HOST)

    def forget_status(self) -> None:
        assert self._seen is not None
        device = cuda_device()
        with device.use():
            device.synchronize()
            self._seen[0] = 0
            device.copy(int(self.status.data_ptr()), self._seen.ctypes.data, 4, TO_DEVICE)

    def launch(self, device: CudaDevice, stage: Stage, key: Hashable | None, arguments: Callable[[], list[Any]]) -> None:
        """Begin what a stage does. `key`: of calls that bring the same `arguments`; None if they may be others each time."""
        function = self._functions[stage.name]
        if self._observed:
            every = arguments()
            executable = device.capture(lambda: function(*every))
            device.launch(executable)
            device.synchronize()
            device.forget(executable)
            return
        if key is None or not self.graphs:
            function(*arguments())
            return
        generation, executable = self._captured.get(key, (0, None))
        if executable is not None and generation == device.generation:
            self._captured.move_to_end(key)
            device.launch(executable)
            return
        if key not in self._met:  # the first time kernels may have to be loaded, which a capture forbids
            self._met[key] = None
            if len(self._met) > REMEMBERED:
                self._met.popitem(last=False)
            function(*arguments())
            return
        given = arguments()
        try:
            executable = device.capture(lambda: function(*given))
        except (TargetError, RuntimeError) as error:
            self.graphs = False
            warnings.warn(f"{self.graph.name} runs without CUDA graphs: {error}", stacklevel=2)
            function(*given)
            return
        self._keep(device, key, executable)
        device.launch(executable)

    def _keep(self, device: CudaDevice, key: Hashable, executable: Any) -> None:
        _, old = self._captured.pop(key, (0, None))
        if len(self._captured) >= GRAPHS:
            _, (_, old) = self._captured.popitem(last=False)
        if old is not None:
            device.forget(old)
        self._captured[key] = device.generation, executable

    def _start(self, device: CudaDevice) -> None:
        from targets.base.tvm_api import relax, tvm

        if self._vm is not None:
            return
        with hold_interrupts():
            require_device(self.arch)
            self._weights.upload(device)
            if self.has_status and self._seen is None:
                self.status = device.empty(4)._create_view((1,), "int32", 0)
                self._seen = device.host_results.take(4).view(np.int32)
                self.forget_status()
            self.device_extents = {name: device.empty(8)._create_view((1,), "int64", 0) for name in self.device_bounds}
            self._vm = relax.VirtualMachine(self.library.module, tvm.cuda(0), memory_cfg="naive")
            self._functions = {stage.name: self._vm[stage.name] for stage in self.stages if stage.calls}

    def _place(self, sizes: Sizes) -> CudaLayout:
        places, end = self.memory.place(sizes)
        layout = CudaLayout(places, end, staged=_aligned(end))
        made = [r for node in self.graph.nodes if makes_dim(node) for r in node.results]
        end = layout.staged
        inputs = [i for i in self.graph.inputs if i.name not in self.in_place]
        outputs = [(name, type) for name, type in self._types.items() if name not in self.in_place]
        wanted: list[tuple[Value | str, TensorType]] = [(v, v.type) for v in (*inputs, *made)]
        for key, type in [*wanted, *outputs]:
            if isinstance(key, str) and not layout.staged_bytes:
                layout.staged_bytes = end - layout.staged
            layout.slots[key] = end
            end = _aligned(end + evaluate(type.nbytes, sizes))
        layout.arena_bytes = end
        return layout


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
