"""Where the outputs of a call are written: new memory, or the caller's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from targets.base.memory import aligned_empty
from targets.runtime.tensors import shareable
from tgraph.ir.errors import InputError
from tgraph.ir.graph import Graph

ALIGNED_FROM = 16384  # bytes of an output from which vectors that cross lines of the cache cost more than aligning it


def name_buffers(graph: Graph, out: Any) -> dict[str, Any]:
    """The caller's `out` by output: an array for the only output, a tuple for all, a mapping for some.

    Raises InputError for unknown names and a wrong number.
    """
    if out is None:
        return {}
    names = [name for name, _ in graph.outputs]
    if isinstance(out, Mapping):
        given = dict(out)
    else:
        arrays = list(out) if isinstance(out, (tuple, list)) else [out]
        if len(arrays) != len(names):
            raise InputError(f"{graph.name} has {len(names)} outputs ({', '.join(names)}), out has {len(arrays)}; "
                             "a dict may name some of them")
        given = dict(zip(names, arrays))
    for name in given:
        if name not in names:
            raise InputError(f"{graph.name} has no output {name!r}; its outputs: {', '.join(names)}")
    return given


def check_host_buffers(given: Mapping[str, Any]) -> None:
    """Raises InputError for what is no NumPy array that can be written, or is the same memory as another."""
    for name, array in given.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"out for output {name!r} must be a NumPy array, got {type(array).__name__}")
        if not array.flags.writeable:
            raise InputError(f"out for output {name!r} is read-only")
    check_apart(given, np.shares_memory)


def check_apart(given: Mapping[str, Any], overlap: Callable[[Any, Any], bool]) -> None:
    """Raises InputError if two of the caller's arrays are the same memory."""
    listed = list(given.items())
    for i, (name, array) in enumerate(listed):
        for other, another in listed[:i]:
            if overlap(array, another):
                raise InputError(f"out for outputs {other!r} and {name!r} is the same memory")


def check_buffer(graph: Graph, name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises InputError if the caller's array for an output is not of the output's shape and element type."""
    if array.shape != tuple(shape) or array.dtype != dtype:
        type = next(value.type for other, value in graph.outputs if other == name)
        raise InputError(f"output {name!r} ({type}) is {dtype}{list(shape)} here, out for it is "
                         f"{array.dtype}{list(array.shape)}")


class Outputs(dict[str, np.ndarray]):
    """The outputs of one call by name, as they come; `given` are the caller's own arrays for some of them.

    A kernel writes straight into the caller's array if TVM can share it and no input lies there; else what it wrote is
    copied at the end.
    """

    def __init__(self, graph: Graph, given: Mapping[str, np.ndarray], inputs: Sequence[np.ndarray] = ()):
        super().__init__()
        self.graph, self.given, self.inputs = graph, given, inputs

    def allocate(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Find memory for an output that a kernel will write. Raises InputError if the caller's does not fit."""
        array = self.given.get(name)
        if array is not None:
            check_buffer(self.graph, name, array, shape, dtype)
            if shareable(array) and not any(np.may_share_memory(array, i) for i in self.inputs):
                self[name] = array
                return
        small = math.prod(shape) * dtype.itemsize < ALIGNED_FROM
        self[name] = np.empty(shape, dtype) if small else aligned_empty(shape, dtype)

    def begin(self, name: str, array: np.ndarray) -> None:
        """Find memory for an output that holds what an input does, and of which kernels will write a part.

        A caller who gives the input itself for the output lets it be changed; else it is copied.
        """
        if self.given.get(name) is array and shareable(array):
            self[name] = array
            return
        self.allocate(name, array.shape, array.dtype)
        self[name][...] = array

    def finish(self) -> dict[str, np.ndarray]:
        """All outputs in the order of the graph, the caller's arrays for those that were given."""
        for name, array in self.given.items():
            value = self[name]
            if value is not array:
                check_buffer(self.graph, name, array, value.shape, value.dtype)
                array[...] = value
                self[name] = array
        return {name: self[name] for name, _ in self.graph.outputs}
