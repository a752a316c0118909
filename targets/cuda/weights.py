"""The prepared tensors on a GPU, for all graphs of a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from targets.base.memory import offsets
from targets.cuda.device import TO_DEVICE, CudaDevice, cuda_device


class DeviceWeights:
    """Tensors by name, in one piece of device memory; `tensors` is empty before the first call of a graph."""

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self._prepared: Mapping[str, np.ndarray] = {}

    def take(self, prepared: Mapping[str, np.ndarray]) -> None:
        """Take other values. They go to the device at the first call, and from then on at once."""
        if prepared is self._prepared:  # another graph's engine brought them
            return
        self._prepared = prepared
        if self.tensors:
            device = cuda_device()
            with device.use():
                self._copy(device)

    def upload(self, device: CudaDevice) -> None:
        """Copy the tensors to the device, if they are not there."""
        if self.tensors:
            return
        starts, end = offsets(self._prepared.values())
        memory = device.empty(end)
        self.tensors = {name: memory._create_view(array.shape, array.dtype.name, start)
                        for (name, array), start in zip(self._prepared.items(), starts)}
        self._copy(device)

    def _copy(self, device: CudaDevice) -> None:
        """Copy the tensors to where the former ones were, so that captured graphs read the new ones."""
        for name, array in self._prepared.items():
            dense = np.ascontiguousarray(array)
            device.copy(int(self.tensors[name].data_ptr()), dense.ctypes.data, dense.nbytes, TO_DEVICE)
        device.synchronize()
