"""What an importer knows of a value before anything runs: its elements, which may be symbolic sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.dims import Dim, DimLike
from ...ir.dtypes import DTYPES
from ...ir.registry import get_op


def cast_array(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Numbers in another type, as the op `cast` has them: floats beyond an integer type are its ends, NaN is 0."""
    known = next((d for d in DTYPES.values() if d.numpy == dtype), None)
    with np.errstate(all="ignore"):
        if known is None or array.dtype.kind not in "fV":
            return array.astype(dtype)
        meaning = get_op("cast").numpy
        assert meaning is not None
        return np.asarray(meaning(array, dtype=known))


@dataclass(frozen=True)
class Known:
    """An array of numbers, or of sizes (dtype object: integers and dims). dtype: what the model says its elements are."""

    array: np.ndarray
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, array: Any, dtype: Any = None) -> Known:
        """Elements that are all numbers are kept as such."""
        array = np.asarray(array)
        if array.dtype == object and not any(isinstance(d, Dim) for d in array.reshape(-1)):
            array = array.astype(np.int64 if dtype is None else dtype)
        return cls(array, np.dtype(dtype if dtype is not None else np.int64 if array.dtype == object else array.dtype))

    @property
    def is_constant(self) -> bool:
        """Whether no element is symbolic."""
        return self.array.dtype != object

    def __repr__(self) -> str:
        return f"known {self.dtype}{list(self.array.shape)}"


@dataclass(frozen=True)
class Ramp:
    """An array of any size whose elements are affine in their index: start + sum of steps[k] index[k].

    So the positions 0, 1, ..., S - 1 of a sequence, in whatever shape, and arrays of one number, whose steps are all 0. start is
    a number of the dtype, or a size; steps may be sizes, as in b S + s.
    """

    shape: tuple[DimLike, ...]
    start: Any
    steps: tuple[DimLike, ...]
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        if isinstance(self.start, int) and self.dtype.kind in "iu":  # numbers wrap around, as the arrays' own would
            low = int(np.iinfo(self.dtype).min)
            object.__setattr__(self, "start", (self.start - low) % 2 ** (8 * self.dtype.itemsize) + low)

    @classmethod
    def of(cls, value: Any) -> Ramp | None:
        """What is known of an array as a ramp; None if it is none."""
        if isinstance(value, Ramp) or not isinstance(value, Known):
            return value if isinstance(value, Ramp) else None
        array = value.array
        if not array.size or (not value.is_constant and array.size > 1):
            return None
        start = array[(0,) * array.ndim]
        steps: list[DimLike] = [0] * array.ndim
        if value.dtype.kind in "iu" and value.is_constant:
            steps = [int(array[tuple(int(i == k) for i in range(array.ndim))]) - int(start) if size > 1 else 0
                     for k, size in enumerate(array.shape)]
        made = cls(array.shape, start if isinstance(start, Dim) else np.asarray(start).item(), tuple(steps), value.dtype)
        if array.size > 1:
            expected = np.full(array.shape, start)
            for axis in made.along():
                rise = np.array([steps[axis] * i for i in range(array.shape[axis])])
                expected = expected + rise.reshape([-1 if i == axis else 1 for i in range(array.ndim)])
            if not np.array_equal(expected, array):
                return None
        return made

    @property
    def is_constant(self) -> bool:
        """Whether all elements are one number (and no size)."""
        return not self.along() and not isinstance(self.start, Dim)

    def along(self) -> list[int]:
        """The axes along which elements differ."""
        return [axis for axis, step in enumerate(self.steps) if isinstance(step, Dim) or step]


@dataclass(frozen=True)
class Columns:
    """Ramps of one shape side by side along a last axis: the places that an indexing by several arrays reads."""

    parts: tuple[Ramp, ...]

    @classmethod
    def of(cls, value: Any) -> Columns | None:
        """What is known of an array as columns that are ramps; None if they are none."""
        if isinstance(value, Columns):
            return value
        if not isinstance(value, Known) or not value.is_constant or not value.array.ndim:
            return None
        parts = [Ramp.of(Known(value.array[..., i], value.dtype)) for i in range(value.array.shape[-1])]
        return cls(tuple(p for p in parts if p is not None)) if parts and all(p is not None for p in parts) else None


@dataclass(frozen=True)
class TensorSequence:
    """Values in order, where a model has a sequence of tensors."""

    items: tuple[Any, ...]
