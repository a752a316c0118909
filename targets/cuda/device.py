"""The GPU of this process: copies and waiting, memory that calls share, and CUDA graphs.

All work goes to the default stream, where it is in order with that of other libraries on their default streams, and memory that
is let go of may be given to the next call at once.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from targets.cuda.libraries import CUDART, find_library
from targets.cuda.memory import DevicePool, HostPool
from targets.cuda.runtime import error_text, gpu, load_runtime
from tgraph.ir.errors import TargetError

TO_DEVICE, TO_HOST, ON_DEVICE = 1, 2, 3  # numbers of cudaMemcpyKind
NON_BLOCKING = 1  # cudaStreamNonBlocking: a stream that the default stream does not wait for
EXTERNAL = 1  # cudaEventRecordExternal: recorded in a capture, an event takes the time whenever the graph runs
RELAXED = 2  # cudaStreamCaptureModeRelaxed: other calls meanwhile, such as letting go of memory, are not forbidden

_Pointer, _Size = ctypes.c_void_p, ctypes.c_size_t
_Event = _Stream = _Graph = _Pointer
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaGetDevice": (_Pointer,), "cudaSetDevice": (ctypes.c_int,), "cudaMemGetInfo": (_Pointer, _Pointer),
    "cudaMallocHost": (_Pointer, _Size), "cudaFreeHost": (_Pointer,),
    "cudaMemcpyAsync": (_Pointer, _Pointer, _Size, ctypes.c_int, _Stream), "cudaStreamSynchronize": (_Stream,),
    "cudaStreamCreateWithFlags": (_Pointer, ctypes.c_uint), "cudaStreamWaitEvent": (_Stream, _Event, ctypes.c_uint),
    "cudaEventCreate": (_Pointer,), "cudaEventRecord": (_Event, _Stream), "cudaEventSynchronize": (_Event,),
    "cudaEventRecordWithFlags": (_Event, _Stream, ctypes.c_uint),
    "cudaEventElapsedTime": (_Pointer, _Event, _Event), "cudaEventDestroy": (_Event,),
    "cudaStreamBeginCapture": (_Stream, ctypes.c_int), "cudaStreamEndCapture": (_Stream, _Pointer),
    "cudaGraphInstantiate": (_Pointer, _Graph, ctypes.c_ulonglong), "cudaGraphLaunch": (_Graph, _Stream),
    "cudaGraphDestroy": (_Graph,), "cudaGraphExecDestroy": (_Graph,),
}


class CudaDevice:
    """Device 0 of this process. Take `lock` around a call: arena and staging memory belong to one call at a time."""

    def __init__(self) -> None:
        gpu()  # raises TargetError if there is none
        load_runtime()
        found = find_library(CUDART)
        assert found is not None
        self._cudart = found
        for name, types in _SIGNATURES.items():
            getattr(found, name).argtypes = types
        self.lock, self.process = threading.RLock(), os.getpid()
        self.results, self.host_results = DevicePool(self), HostPool(self)
        self.generation = 0  # of the arena: its address changes with it
        self._arena: Any = None
        self._arena_bytes = 0
        self._staging: np.ndarray | None = None
        self._staged: Any = None  # an event after the copies from staging memory
        self._capture_stream: Any = None

    def call(self, name: str, *arguments: Any) -> None:
        """A function of CUDA's runtime. Raises TargetError with NVIDIA's words if it fails."""
        error = getattr(self._cudart, name)(*arguments)
        if error:
            self._cudart.cudaGetLastError()  # else the next call would report it again
            raise TargetError(f"{name} failed: {error_text(error)} (also errors of kernels that were started before show here)")

    @contextmanager
    def use(self) -> Iterator[None]:
        """One call's turn, with this device as the thread's current one and the default stream as TVM's."""
        from targets.cuda.tvm_api import cuda_stream

        if os.getpid() != self.process:
            raise TargetError("CUDA does not work in a process that was forked from one that had used the GPU; start processes "
                              "by spawn or forkserver, or fork before the first call")
        current = ctypes.c_int()
        with self.lock:
            self.call("cudaGetDevice", ctypes.byref(current))
            if current.value:
                self.call("cudaSetDevice", 0)
            try:
                with cuda_stream(0):
                    yield
            finally:
                if current.value:
                    self.call("cudaSetDevice", current.value)

    # Memory

    def memory(self) -> tuple[int, int]:
        """Bytes of the device's memory: free, and in all."""
        free, total = _Size(), _Size()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def empty(self, size: int) -> Any:
        """A TVM tensor of uninitialised bytes. Raises TargetError that says what was asked for and what is free."""
        from targets.cuda.tvm_api import empty

        try:
            return empty(size)
        except RuntimeError:
            self._cudart.cudaGetLastError()
            free, total = (f"{count / 2**20:.1f} MiB" for count in self.memory())
            raise TargetError(f"the GPU is out of memory: {size / 2**20:.1f} MiB were asked for, "
                              f"{free} of {total} are free") from None

    def arena(self, size: int) -> Any:
        """A tensor of at least `size` bytes, the same one for all calls; it grows to the largest seen."""
        if self._arena is None or size > self._arena_bytes:
            self._arena, self._arena_bytes = None, 0  # let go of the old one first
            self.generation += 1
            self._arena = self.empty(size)
            self._arena_bytes = size
        return self._arena

    def copy(self, to: int, source: int, size: int, kind: int) -> None:
        """Begin a copy between addresses."""
        if size:
            self.call("cudaMemcpyAsync", to, source, size, kind, None)

    def synchronize(self) -> None:
        """Wait until all that was begun is done."""
        self.call("cudaStreamSynchronize", None)

    def staging(self, size: int) -> np.ndarray:
        """Bytes of page-locked memory for what a call brings from the host; `staged` must come after the copies from it."""
        if self._staged is None:
            self._staged = self.event()
        self.call("cudaEventSynchronize", self._staged)
        if self._staging is None or self._staging.nbytes < size:
            self._staging = self.host_results.take(size)
        return self._staging

    def staged(self) -> None:
        """What was copied from staging memory will have been read when all that was begun until now is done."""
        self.call("cudaEventRecord", self._staged, None)

    def pinned(self, size: int) -> Any:
        """The address of host memory that the device copies from and to by itself."""
        address = _Pointer()
        self.call("cudaMallocHost", ctypes.byref(address), size)
        return address.value

    def unpin(self, address: int) -> None:
        self.call("cudaFreeHost", address)

    # Events and graphs

    def event(self) -> Any:
        event = _Event()
        self.call("cudaEventCreate", ctypes.byref(event))
        return event

    def record_in_capture(self, event: Any) -> None:
        """Take the time at this place of the graph that is being captured."""
        self.call("cudaEventRecordWithFlags", event, self._capture_stream, EXTERNAL)

    def seconds(self, start: Any, end: Any) -> float:
        """The time between two events that are over."""
        milliseconds = ctypes.c_float()
        self.call("cudaEventElapsedTime", ctypes.byref(milliseconds), start, end)
        return milliseconds.value / 1e3

    def wait_for_us(self, stream: int) -> None:
        """What other code begins on its stream from now on comes after what was begun here."""
        event = self.event()
        self.call("cudaEventRecord", event, None)
        self.call("cudaStreamWaitEvent", stream, event, 0)
        self.call("cudaEventDestroy", event)

    def capture(self, function: Callable[[], Any]) -> Any:
        """The launches and copies that a function begins, as an executable graph; nothing of it runs now. Raises TargetError."""
        from targets.cuda.tvm_api import cuda_stream

        if self._capture_stream is None:
            stream = _Stream()
            self.call("cudaStreamCreateWithFlags", ctypes.byref(stream), NON_BLOCKING)
            self._capture_stream = stream
        graph, executable = _Graph(), _Graph()
        collects = gc.isenabled()
        gc.disable()  # a collection might free memory of the device
        try:
            self.call("cudaStreamBeginCapture", self._capture_stream, RELAXED)
            try:
                with cuda_stream(self._capture_stream.value):
                    function()
            finally:
                self.call("cudaStreamEndCapture", self._capture_stream, ctypes.byref(graph))
            self.call("cudaGraphInstantiate", ctypes.byref(executable), graph, 0)
            self.call("cudaGraphDestroy", graph)
        finally:
            if collects:
                gc.enable()
        return executable

    def launch(self, executable: Any) -> None:
        self.call("cudaGraphLaunch", executable, None)

    def forget(self, executable: Any) -> None:
        self.call("cudaGraphExecDestroy", executable)


@functools.cache
def cuda_device() -> CudaDevice:
    """The GPU. Raises TargetError that says why there is none."""
    return CudaDevice()
