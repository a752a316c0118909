"""Memory for the results of calls, on the host and on the GPU, which is used again as soon as nobody holds it any more.

Getting memory from the driver, and giving it back, waits for the GPU; a call must not.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from tgraph.ir.errors import TargetError

if TYPE_CHECKING:
    from targets.cuda.device import CudaDevice

IDLE = 256 * 2**20  # bytes of the GPU's memory that nobody holds, beyond which it is given back
PINNED = 256 * 2**20  # bytes of page-locked memory in all; beyond, results are in ordinary memory
SMALLEST = 4096


def _rounded(size: int) -> int:
    """A power of two up to 1 MiB, then a multiple of 1 MiB: so that sizes near each other share memory."""
    return max(SMALLEST, 1 << (size - 1).bit_length()) if size <= 2**20 else -(-size // 2**20) * 2**20


class HostPool:
    """Page-locked memory of the host, as arrays of bytes."""

    def __init__(self, device: CudaDevice):
        self.device = device
        self.bytes = 0
        self._idle: list[tuple[int, int]] = []  # (size, address)
        self._lock = threading.Lock()

    def take(self, size: int) -> np.ndarray:
        """Uninitialised bytes; the memory comes back when the array and all views of it are gone."""
        wanted = _rounded(size)
        with self._lock:
            found = min((block for block in self._idle if wanted <= block[0] <= 2 * wanted), default=None)
            if found is not None:
                self._idle.remove(found)
        if found is None:
            if self.bytes + wanted > PINNED:
                self._trim()
            if self.bytes + wanted > PINNED:
                return np.empty(size, np.uint8)
            found = wanted, self.device.pinned(wanted)
            self.bytes += wanted
        buffer = (ctypes.c_ubyte * found[0]).from_address(found[1])
        weakref.finalize(buffer, self._idle.append, found).atexit = False
        return np.asarray(buffer)[:size]

    def _trim(self) -> None:
        with self._lock:
            while self._idle:
                size, address = self._idle.pop()
                self.device.unpin(address)
                self.bytes -= size


class DevicePool:
    """Memory of the GPU, as TVM tensors of bytes."""

    def __init__(self, device: CudaDevice):
        self.device = device
        self._blocks: list[tuple[int, Any]] = []

    def take(self, size: int) -> Any:
        """Uninitialised bytes; they come back when the tensor, all views of it and all that others made of them are gone."""
        from targets.cuda.tvm_api import is_shared

        wanted = _rounded(size)
        idle = [block for block in self._blocks if not is_shared(block[1])]
        fitting = [block for block in idle if wanted <= block[0] <= 2 * wanted]
        if fitting:
            return min(fitting, key=lambda block: block[0])[1]
        crowded = sum(block[0] for block in idle) > IDLE
        del idle, fitting
        if crowded:
            self._trim()
        try:
            tensor = self.device.empty(wanted)
        except TargetError:
            self._trim()
            tensor = self.device.empty(wanted)
        self._blocks.append((wanted, tensor))
        return tensor

    def _trim(self) -> None:
        from targets.cuda.tvm_api import is_shared

        self._blocks = [block for block in self._blocks if is_shared(block[1])]
