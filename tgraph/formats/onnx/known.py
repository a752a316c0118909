"""What an importer knows of a value before anything runs: its elements, which may be symbolic sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.dims import Dim


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
