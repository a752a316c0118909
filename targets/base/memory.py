"""Memory as TVM can share it: starting at multiples of 64 bytes."""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from targets.base.target import ALIGNMENT


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An uninitialised array whose data starts at a multiple of 64 bytes, as TVM wants to share memory."""
    return _aligned(np.empty, shape, dtype)


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array of zeros that starts at a multiple of 64 bytes; the system gives its pages when they are written."""
    return _aligned(np.zeros, shape, dtype)


def _aligned(make: Callable[..., np.ndarray], shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array within bytes that `make` gives, from the first multiple of 64 bytes on."""
    raw = make(math.prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    start = ctypes.addressof(ctypes.c_char.from_buffer(raw))  # type: ignore[arg-type]  # raw.ctypes takes longer
    return np.ndarray(shape, dtype, raw, -start % ALIGNMENT)


def give_back(array: np.ndarray) -> None:
    """Let the system take back the memory of an array that lies in a file mapped read-only; it is read again when asked for."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    if not isinstance(owner, mmap.mmap) or not array.flags.c_contiguous or not memoryview(owner).readonly:
        return
    first = array.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
    start, stop = first + -first % mmap.PAGESIZE, (first + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE  # whole pages within
    if stop > start and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED, start, stop - start)


def offsets(arrays: Iterable[np.ndarray]) -> tuple[list[int], int]:
    """Where arrays start that lie one after the other, each at a multiple of 64 bytes; and where the last one ends."""
    starts, end = [], 0
    for array in arrays:
        starts.append(end + -end % ALIGNMENT)
        end = starts[-1] + array.nbytes
    return starts, end


def neighbours(arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Uninitialised arrays like these in one piece of memory, which the system can then give in large pages.

    Large pages are ten times as quick to get, and a kernel that streams through them misses fewer translations.
    """
    like = list(arrays)
    starts, end = offsets(like)
    memory = aligned_empty((end,), np.dtype(np.uint8))
    return [memory[start:start + a.nbytes].view(a.dtype).reshape(a.shape) for start, a in zip(starts, like)]
