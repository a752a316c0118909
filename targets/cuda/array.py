"""Dense arrays in the memory of the GPU: what calls give and take without a copy to the host. Other libraries by DLPack."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from targets.cuda.device import ON_DEVICE, TO_DEVICE, TO_HOST, cuda_device
from tgraph.ir.dtypes import DTYPES
from tgraph.ir.errors import InputError

CUDA, MANAGED = 2, 13  # numbers of DLPack's kinds of devices
ALIGNED = 16  # bytes that kernels copy at once
LEGACY = 1  # the default stream's number in DLPack
_NUMPY = {d.numpy_name: d.numpy for d in DTYPES.values()}


class DeviceArray:
    """A dense array on the GPU, which any library that speaks DLPack takes without a copy: `torch.from_dlpack(y)`.

    `shape` and `dtype` are NumPy's; `numpy()` brings the content to the host, and then raises InputError if the call that made
    it, or one before, met an index outside of its table.
    """

    def __init__(self, tensor: Any, check: Callable[[], None] = lambda: None):
        self.tensor = tensor
        self.shape: tuple[int, ...] = tuple(tensor.shape)
        self.dtype = _NUMPY[str(tensor.dtype)]
        self._check = check

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def address(self) -> int:
        """Where the content starts in the GPU's memory."""
        return int(self.tensor.data_ptr())

    def overlaps(self, other: DeviceArray) -> bool:
        return self.address < other.address + other.nbytes and other.address < self.address + self.nbytes

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        result = np.empty(self.shape, self.dtype)
        device = cuda_device()
        with device.use():
            device.copy(result.ctypes.data, self.address, self.nbytes, TO_HOST)
            device.synchronize()
        self._check()
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on the GPU is a copy on the host")
        return self.numpy().astype(dtype or self.dtype, copy=False)

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, 0

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        """DLPack's capsule. What the taker begins on its `stream` comes after the work that makes the content."""
        if stream not in (None, -1, 0, LEGACY):
            cuda_device().wait_for_us(stream)
        return self.tensor.__dlpack__(**options)

    def __repr__(self) -> str:
        return f"<DeviceArray {self.dtype}{list(self.shape)} on cuda:0>"


def on_gpu(value: Any) -> bool:
    """Whether a value is an array in a GPU's memory."""
    where = getattr(value, "__dlpack_device__", None)
    return where is not None and not isinstance(value, np.ndarray) and where()[0] in (CUDA, MANAGED)


def alias(value: Any) -> DeviceArray:
    """An array of another library, its own memory. Raises InputError for what cannot be shared, or is not dense."""
    if isinstance(value, DeviceArray):
        return value
    array = _wrap(value)
    if isinstance(array, DeviceArray):
        return array
    raise InputError(f"got a {type(value).__name__} whose memory is not dense")


def adopt(value: Any) -> DeviceArray:
    """An array of another library, its own memory where that is dense and aligned, else a copy. Raises InputError."""
    if isinstance(value, DeviceArray):
        return value
    array = _wrap(value)
    if not isinstance(array, DeviceArray):
        return _dense(array)
    return array if array.address % ALIGNED == 0 else _copy(array)


def new(shape: tuple[int, ...], dtype: np.dtype[Any], check: Callable[[], None] = lambda: None) -> DeviceArray:
    """An uninitialised array."""
    device = cuda_device()
    with device.lock:  # until a view holds the memory, another thread might take it too
        memory = device.results.take(math.prod(shape) * dtype.itemsize)
        return DeviceArray(memory._create_view(shape, dtype.name, 0), check)


def _wrap(value: Any) -> Any:
    """A TVM tensor over another library's array, as a DeviceArray if it is dense."""
    from targets.cuda.tvm_api import from_capsule

    got, (_, index) = type(value).__name__, value.__dlpack_device__()
    if index != 0:
        raise InputError(f"got a {got} on GPU {index}; GPU 0 is the one that runs")
    try:
        # work of the default stream, which is ours, then comes after what makes the content
        tensor = from_capsule(value.__dlpack__(stream=LEGACY))
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise InputError(f"got a {got} that cannot be shared: {error}") from None
    if str(tensor.dtype) not in _NUMPY:
        raise InputError(f"got a {got} of {tensor.dtype}; the element types are {', '.join(_NUMPY)}")
    return DeviceArray(tensor) if tensor.is_contiguous() else tensor


def _copy(array: DeviceArray) -> DeviceArray:
    made = new(array.shape, array.dtype)
    device = cuda_device()
    with device.use():
        device.copy(made.address, array.address, array.nbytes, ON_DEVICE)
    return made


def _dense(tensor: Any) -> DeviceArray:
    """A copy of a strided tensor, which goes through the host."""
    dtype = _NUMPY[str(tensor.dtype)]
    extent = (sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides)) + 1) if math.prod(tensor.shape) else 0
    raw = np.empty(extent, dtype)
    device = cuda_device()
    with device.use():
        device.copy(raw.ctypes.data, int(tensor.data_ptr()), raw.nbytes, TO_HOST)
        device.synchronize()
    strides = [s * dtype.itemsize for s in tensor.strides]
    array = np.ascontiguousarray(np.lib.stride_tricks.as_strided(raw, tensor.shape, strides))
    made = new(tuple(tensor.shape), dtype)
    with device.use():
        device.copy(made.address, array.ctypes.data, array.nbytes, TO_DEVICE)
        device.synchronize()
    return made
