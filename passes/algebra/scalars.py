"""Conditions on constants that rules compute: whether a type can hold them."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tgraph.ir.dtypes import DType, f32
from tgraph.ir.values import Constant, Value


def representable(number: float | int | bool, dtype: DType) -> str | None:
    """The reason why a dtype cannot hold a number, or None. Floats hold every number, rounded; booleans hold none."""
    if dtype.is_bool or isinstance(number, bool):
        return "booleans are no numbers"
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        if number != int(number) or not info.min <= number <= info.max:
            return f"{number} is outside of {dtype}"
    return None


def float_result(number: float, dtype: DType) -> str | None:
    """The reason why a computed factor is not a normal number of a float dtype, finite and with all its digits; or None."""
    info = ml_dtypes.finfo(dtype.numpy)
    if not float(info.smallest_normal) <= abs(number) <= float(info.max):
        return f"the factor {number} is no normal number of {dtype}"
    return None


def same_sign(value: Value) -> bool:
    """Whether the elements of a constant, all equal, have the same sign too: -0.0 == 0.0."""
    if not isinstance(value, Constant) or value.data is None or not value.dtype.is_float:
        return True
    signs = np.signbit(value.data)
    return bool(signs.all() or not signs.any())


def as_written(number: float | None, dtype: DType) -> float:
    """The shortest decimal number that rounds to a given f32: 1e-12, not 9.999999960041972e-13. None is 0."""
    return float(str(np.float32(number))) if number is not None and dtype == f32 else float(number or 0.0)
