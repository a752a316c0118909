"""Element types. `f32[B, S, 768]` is a tensor type, and a bare `f32` the type of a scalar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .cached import cached_property
from .dims import RESERVED, DimLike
from .errors import RuleError
from .types import TensorType


@dataclass(frozen=True)
class DType:
    """One element type. `kind` is "float", "int", "uint" or "bool"."""

    name: str
    kind: str
    bits: int
    numpy_name: str

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype; bfloat16 comes from ml_dtypes."""
        if self.numpy_name == "bfloat16":
            import ml_dtypes

            bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
            return bfloat16
        return np.dtype(self.numpy_name)

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return max(1, self.bits // 8)

    @property
    def largest(self) -> float:
        """The largest finite number of a float type."""
        return {"f16": 65504.0, "bf16": 2.0**127 * (2 - 2.0**-7), "f32": 2.0**127 * (2 - 2.0**-23),
                "f64": float(np.finfo(np.float64).max)}[self.name]

    @property
    def is_float(self) -> bool:
        """Whether it is f16, bf16, f32 or f64."""
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """Whether it is i8, u8, i32 or i64; masks are no integers."""
        return self.kind in ("int", "uint")

    @property
    def is_bool(self) -> bool:
        """Whether it is that of masks."""
        return self.kind == "bool"

    def __getitem__(self, shape: DimLike | tuple[DimLike, ...]) -> TensorType:
        return TensorType(self, shape if isinstance(shape, tuple) else (shape,))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name


f16: DType = DType("f16", "float", 16, "float16")
bf16: DType = DType("bf16", "float", 16, "bfloat16")
f32: DType = DType("f32", "float", 32, "float32")
f64: DType = DType("f64", "float", 64, "float64")
i8: DType = DType("i8", "int", 8, "int8")
u8: DType = DType("u8", "uint", 8, "uint8")
i32: DType = DType("i32", "int", 32, "int32")
i64: DType = DType("i64", "int", 64, "int64")
bool_: DType = DType("bool", "bool", 1, "bool")

DTYPES: dict[str, DType] = {d.name: d for d in (f16, bf16, f32, f64, i8, u8, i32, i64, bool_)}
RESERVED.update(DTYPES)


def as_type(spec: TensorType | DType) -> TensorType:
    """A TensorType from a type or a bare dtype (rank 0)."""
    if isinstance(spec, DType):
        return TensorType(spec)
    if isinstance(spec, TensorType):
        return spec
    raise RuleError(f"expected a type like tg.f32[B, 768], got {type(spec).__name__} ({spec!r})")


def dtype_of(array: Any) -> DType:
    """The DType of a NumPy array or NumPy dtype. Raises RuleError for one that tgraph has no name for."""
    name = np.dtype(getattr(array, "dtype", array)).name
    for dtype in DTYPES.values():
        if dtype.numpy_name == name:
            return dtype
    raise RuleError(f"no tgraph type for NumPy dtype {name}; known: {', '.join(DTYPES)}")


def as_dtype(value: Any) -> DType:
    """The DType for a dtype of tgraph, NumPy or PyTorch, for the name of one, or for Python's `int` or `bool`.

    Raises TypeError for anything else, and for Python's `float`, which is f64 to NumPy and f32 to PyTorch.
    """
    if isinstance(value, DType):
        return value
    if type(value).__module__ == "torch":
        value = str(value).removeprefix("torch.")
    if isinstance(value, str) and value in DTYPES:
        return DTYPES[value]
    known = {d.numpy_name: d for d in DTYPES.values()}
    name = {int: "int64", bool: "bool", float: ""}.get(value) if isinstance(value, type) else None
    if name is None:
        try:
            name = value if isinstance(value, str) else np.dtype(value).name if value is not None else ""
        except TypeError:
            name = ""
    if name not in known:
        raise TypeError(f"no element type: {value!r}")
    return known[name]


def require_held(data: np.ndarray, dtype: DType, what: str = "the number") -> None:
    """Check that a float type can hold all finite numbers of an array. Raises RuleError for the first beyond its range."""
    if not np.issubdtype(data.dtype, np.number) and data.dtype.kind not in "fV":
        return
    with np.errstate(all="ignore"):
        wide = data.astype(np.float64)
        lost = wide[np.isfinite(wide) & ~np.isfinite(wide.astype(dtype.numpy).astype(np.float64))]
    if lost.size:
        raise RuleError(f"{what} {lost.reshape(-1)[0]:g} is beyond {dtype}, whose largest is {dtype.largest:g}; "
                        f"give one within, {'-' if lost.reshape(-1)[0] < 0 else ''}math.inf, or compute in f32")
