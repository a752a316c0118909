"""One call on a GPU: inputs go to it, the stages run in order, results come back. It waits once, at its end, for the host's."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.base.memory import offsets
from targets.cuda.array import ALIGNED, DeviceArray, new
from targets.cuda.device import ON_DEVICE, TO_DEVICE, TO_HOST, CudaDevice
from targets.lowering.stages import Stage
from targets.runtime.engine import BadIndex
from targets.runtime.outputs import check_buffer
from tgraph.ir.dims import evaluate
from tgraph.ir.values import Parameter, Value

if TYPE_CHECKING:
    from targets.cuda.engine import CudaEngine

DIRECT = 8 * 2**20  # bytes of inputs on the device above which kernels read and write callers' memory itself


class Call:
    """The state of one call.

    Inputs and outputs have slots in the arena, so that a CUDA graph finds them at the same addresses each time. That costs a copy
    on the device of those that are there already; where these are large, launching kernels costs less, and there are no slots.
    """

    def __init__(self, engine: CudaEngine, device: CudaDevice, arrays: Sequence[Any], sizes: dict[str, int],
                 out: Mapping[str, Any]):
        self.engine, self.device, self.arrays, self.sizes, self.out = engine, device, arrays, sizes, out
        sizes.update({name: evaluate(bound, sizes) for name, bound in engine.device_bounds.items()})
        states = engine.graph.states
        given = [(i.name, a) for i, a in zip(engine.graph.inputs, arrays) if isinstance(a, DeviceArray)]
        self.stays = any(name not in states for name, _ in given)  # whether outputs stay on the device
        self.states = {name for name, _ in given if name in states}  # whatever happens to other outputs, these stay there
        self.direct = sum(a.nbytes for name, a in given if name not in engine.in_place) > DIRECT
        self.layout = engine._layout(sizes)
        self.arena = device.arena(self.layout.arena_bytes)
        self.base = int(self.arena.data_ptr())
        if self.layout.generation != device.generation:
            self.layout.generation = device.generation
            self.layout.views.clear()
        self.tensors: dict[Value | str, Any] = {}  # inputs, what the host made, and outputs by name
        self.made: dict[str, DeviceArray] = {}  # outputs that kernels write where they are wanted
        self.memory: np.ndarray | None = None  # on the host, as the slots lie

    def run(self) -> dict[str, Any]:
        """Outputs by name. Raises BadIndex, and InputError."""
        self._feed()
        for stage in self.engine.stages:
            if stage.calls:
                self._launch(stage)
            if stage.host is not None:
                self._on_host(stage)
        return self._deliver()

    # Inputs

    def _feed(self) -> None:
        brought: dict[Value, np.ndarray] = {}
        for value, array in zip(self.engine.graph.inputs, self.arrays):
            if value.name in self.engine.in_place:
                self._begin(value.name, array)
            elif not isinstance(array, DeviceArray):
                brought[value] = array
            elif self.direct:
                self.tensors[value] = array.tensor
        self._stage(brought)
        for value, array in zip(self.engine.graph.inputs, self.arrays):
            if value not in self.tensors and value.name not in self.engine.in_place:
                self.tensors[value] = self._slot(value, array.shape, array.dtype)
                self.device.copy(self.base + self.layout.slots[value], array.address, array.nbytes, ON_DEVICE)

    def _begin(self, name: str, array: Any) -> None:
        """Find memory for an output that holds what an input does: a caller who gives the input for it lets it be changed."""
        given = self.out.get(name)
        own = given is array and isinstance(array, DeviceArray)
        self.made[name] = array if own else self.engine.bring(array)
        self.tensors[name] = self.made[name].tensor

    def _stage(self, arrays: Mapping[Value, np.ndarray]) -> None:
        """Bring arrays from the host to their slots, in one copy."""
        if not arrays:
            return
        layout, slots = self.layout, self.layout.slots
        if self.memory is None:
            self.memory = self.device.staging(layout.staged_bytes)
        memory = self.memory
        for value, array in arrays.items():
            start = slots[value] - layout.staged
            memory[start:start + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
            self.tensors[value] = self._slot(value, array.shape, array.dtype)
        first = min(slots[value] for value in arrays)
        last = max(slots[value] + array.nbytes for value, array in arrays.items())
        self.device.copy(self.base + first, memory.ctypes.data + first - layout.staged, last - first, TO_DEVICE)
        self.device.staged()

    def _slot(self, key: Value | str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """The tensor over a slot."""
        return self._kept((key, shape), self.layout.slots[key], shape, dtype.name)

    def _kept(self, key: Hashable, offset: int, shape: tuple[int, ...], dtype: str) -> Any:
        """A tensor over a part of the arena, the same one as long as that does not grow."""
        found = self.layout.views.get(key)
        if found is None:
            found = self.layout.views[key] = self._view(offset, shape, dtype)
        return found

    def _view(self, offset: int, shape: tuple[int, ...], dtype: str) -> Any:
        return self.arena._create_view(shape, dtype, offset)

    # Stages

    def _launch(self, stage: Stage) -> None:
        own = self.engine._stage_layout(stage, self.sizes, self.layout)
        for name, shape, dtype in own.results:
            if name not in self.tensors:  # else an earlier stage wrote it, and this one reads it
                self.tensors[name] = self._allocate(name, shape, dtype)

        def arguments() -> list[Any]:
            status = [self.engine.status] if stage.has_status else []
            extents = [self.engine.device_extents[name] for name in stage.device_extents]
            places = [self._kept((stage.name, i), offset, shape, dtype) for i, (shape, dtype, offset) in enumerate(own.places)]
            return [*[self.tensors[v] for v in stage.inputs], *[self.engine.weights[w.name] for w in stage.weights], *places,
                    *[self.tensors[name] for name in stage.outputs], *status, *extents, *own.sizes]

        places = (self.made[name].address for name in sorted(self.engine.in_place))  # a CUDA graph writes where it was captured
        key = None if self.direct else (stage.name, *sorted(self.sizes.items()), *places)
        self.engine.launch(self.device, stage, key, arguments)

    def _allocate(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        given = self.out.get(name)
        if given is not None:
            check_buffer(self.engine.graph, name, given, shape, dtype)
        if self.direct and isinstance(given, DeviceArray):
            inputs = [a for a in self.arrays if isinstance(a, DeviceArray)]
            if given.address % ALIGNED == 0 and not any(given.overlaps(i) for i in inputs):
                self.made[name] = given
        elif self.direct and given is None:
            self.made[name] = new(shape, dtype, self.engine.check)
        return self.made[name].tensor if name in self.made else self._slot(name, shape, dtype)

    def _on_host(self, stage: Stage) -> None:
        """Run the node between two stages in NumPy; it binds the data-dependent dims that it makes.

        What it reads is there without waiting if the caller brought it from the host, as a mask mostly is.
        """
        node = stage.host
        assert node is not None
        results = self.engine._interpreter.run_node(node, [self._read(v) for v in node.inputs], self.sizes)
        self._stage(dict(zip(node.results, results)))

    def _read(self, value: Value) -> np.ndarray:
        """A value on the host."""
        if isinstance(value, Parameter):
            return self.engine.prepared[value.name]
        if value in self.engine.graph.inputs:
            array = self.arrays[self.engine.graph.inputs.index(value)]
            if not isinstance(array, DeviceArray):
                return np.asarray(array)
        tensor = self._tensor(value)
        result = np.empty(value.type.evaluate(self.sizes), value.dtype.numpy)
        self.device.copy(result.ctypes.data, int(tensor.data_ptr()), result.nbytes, TO_HOST)
        self.device.synchronize()
        return result

    def _tensor(self, value: Value) -> Any:
        """A value on the device."""
        if value in self.tensors:
            return self.tensors[value]
        if isinstance(value, Parameter):
            return self.engine.weights[value.name]
        if value in self.engine.memory.values:
            offset = self.layout.offsets[self.engine.memory.values.index(value)]
            return self._view(offset, value.type.evaluate(self.sizes), value.dtype.numpy_name)
        return next(self.tensors[name] for name, v in self.engine.graph.outputs if v is value and name in self.tensors)

    # Outputs

    def _deliver(self) -> dict[str, Any]:
        """Begin all copies of outputs, and wait for those to the host."""
        engine, device = self.engine, self.device
        results: dict[str, Any] = dict.fromkeys(name for name, _ in engine.graph.outputs)
        to_host: dict[str, Value] = {}
        for name, value in engine.graph.outputs:
            given = self.out.get(name)
            shape, dtype = value.type.evaluate(self.sizes), value.dtype.numpy
            if given is not None:
                check_buffer(engine.graph, name, given, shape, dtype)
            stays = self.stays or name in self.states
            if name in self.made and (given is self.made[name] or (given is None and stays)):
                results[name] = self.made[name]
            elif isinstance(given, DeviceArray) or (given is None and stays):
                array = results[name] = new(shape, dtype, engine.check) if given is None else given
                device.copy(array.address, self._address(name, value), array.nbytes, ON_DEVICE)
            else:
                to_host[name] = value
        if to_host:
            results.update(self._copy_to_host(to_host))
        else:
            engine.read_status(device)
        return results

    def _copy_to_host(self, values: Mapping[str, Value]) -> dict[str, np.ndarray]:
        """Outputs on the host, when all is done. Raises BadIndex."""
        engine, device = self.engine, self.device
        like = [np.broadcast_to(np.zeros((), v.dtype.numpy), v.type.evaluate(self.sizes)) for v in values.values()]
        starts, end = offsets(like)
        memory = device.host_results.take(end)
        arrays = [memory[start:start + a.nbytes].view(a.dtype).reshape(a.shape) for start, a in zip(starts, like)]
        for (name, value), array in zip(values.items(), arrays):
            device.copy(array.ctypes.data, self._address(name, value), array.nbytes, TO_HOST)
        engine.read_status(device)
        device.synchronize()
        if engine.bad_index():
            raise BadIndex
        results = {}
        for name, array in zip(values, arrays):
            given = self.out.get(name)
            if given is not None:
                given[...] = array
            results[name] = array if given is None else given
        return results

    def _address(self, name: str, value: Value) -> int:
        return int((self.tensors[name] if name in self.tensors else self._tensor(value)).data_ptr())
