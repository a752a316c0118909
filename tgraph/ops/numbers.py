"""Attributes that are numbers, and what element types hold."""

from __future__ import annotations

import numpy as np

from ..ir.dtypes import DType
from ..ir.errors import RuleError


def require_number(value: object, dtype: DType, what: str) -> None:
    """Check an attribute that becomes an element: an integer type takes the whole numbers of its range, bool 0 and 1."""
    if not isinstance(value, (bool, int, float)):
        raise RuleError(f"{what} is a number, got {value!r}")
    if dtype.is_float:
        return
    low, high = (0, 1) if dtype.is_bool else (int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max))
    if value != value or not low <= value <= high or value != int(value):
        raise RuleError(f"{what} {value!r} is none that {dtype} can hold ({low} .. {high})")
