"""Change of element type."""

from __future__ import annotations

import numpy as np

from ..ir.dtypes import DType, dtype_of
from ..ir.registry import op
from ..ir.types import TensorType


@op(elementwise=True, magnitude="carried")
def cast(x: TensorType, *, dtype: DType) -> TensorType:
    """Convert to another element type.

    Floats round to nearest even; float to integer drops the fraction and saturates at the type's ends, NaN gives 0;
    integers wrap; booleans are 0 and 1, and anything but 0 is True. After ONNX Cast, which leaves the float to integer
    corners open.
    """
    return x.with_dtype(dtype)


@cast.reference
def _(x, *, dtype):  # type: ignore[no-untyped-def]
    if dtype.is_integer and dtype_of(x).is_float:
        info = np.iinfo(dtype.numpy)
        whole = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
        inside = np.clip(whole, float(info.min), np.nextafter(float(info.max) + 1.0, 0.0) if info.bits > 32 else info.max)
        result = inside.astype(dtype.numpy)
        return np.where(whole >= float(info.max), info.max, result).astype(dtype.numpy)
    return x.astype(dtype.numpy)
