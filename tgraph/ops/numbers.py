"""Attributes that are numbers, and what element types hold."""

from __future__ import annotations

import numpy as np

from ..ir.dtypes import DType, require_held
from ..ir.errors import RuleError


def require_number(value: object, dtype: DType, what: str) -> None:
    """Check an attribute that becomes an element: an integer type takes the whole numbers of its range, bool 0 and 1, a float
    type infinities, NaN, and what lies within its range."""
    if not isinstance(value, (bool, int, float)):
        raise RuleError(f"{what} is a number, got {value!r}")
    if dtype.is_float:
        require_held(np.asarray(value, np.float64), dtype, what)
        return
    low, high = (0, 1) if dtype.is_bool else (int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max))
    if value != value or not low <= value <= high or value != int(value):
        raise RuleError(f"{what} {value!r} is none that {dtype} can hold ({low} .. {high})")
