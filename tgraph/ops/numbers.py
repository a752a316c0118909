"""Attributes that are numbers, what element types hold, and the precision that parts of an op are computed in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dtypes import DType, f32, require_held
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


def in_f32(decomposition: Callable[..., Any]) -> Callable[..., Any]:
    """A decomposition whose parts are of f32 where the operands are of a half precision; its results are of theirs again.

    For ops whose parts leave the range of f16, have small constants that it has no number for, or lose what their sum keeps.
    """
    @functools.wraps(decomposition)
    def wide(b, x, *others, **attrs):  # type: ignore[no-untyped-def]
        if x.dtype.bits != 16:
            return decomposition(b, x, *others, **attrs)
        operands = (b.cast(v, dtype=f32) if v is not None and v.dtype == x.dtype else v for v in (x, *others))
        made = decomposition(b, *operands, **attrs)
        results = tuple(b.cast(y, dtype=x.dtype) for y in (made if isinstance(made, tuple) else (made,)))
        return results if isinstance(made, tuple) else results[0]

    return wide
