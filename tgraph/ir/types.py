"""The type of a value: element type and shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .dims import Dim, DimLike, bounds, evaluate, substitute
from .errors import RuleError

if TYPE_CHECKING:
    from .dtypes import DType


LARGEST_SIZE = 2**63 - 1  # of an axis


@dataclass(frozen=True)
class TensorType:
    """`f32[B, S, 768]`: element type and shape; rank 0 prints as `f32`.

    `value_range` bounds the values of an integer input (`i64[B, S].range(0, 30522)`: 0 <= v < 30522); it
    guides generated inputs and takes no part in `==`.
    """

    dtype: DType
    shape: tuple[DimLike, ...] = ()
    value_range: tuple[int, int] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for size in self.shape:
            if isinstance(size, bool) or not isinstance(size, (int, Dim)):
                raise RuleError(f"a dimension is an int or a symbolic dim, not {type(size).__name__} ({size!r})")
            high = bounds(size)[1]
            if isinstance(size, int) and not -LARGEST_SIZE <= size <= LARGEST_SIZE:
                beyond = "less" if size < 0 else "more"
                raise RuleError(f"a dimension is {beyond} than any size: a number of {size.bit_length()} bits")
            if high is not None and high < 0:
                raise RuleError(f"a dimension of {self} is negative: {size}")

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> DimLike:
        """Number of elements."""
        total: DimLike = 1
        for extent in self.shape:
            total = total * extent
        return total

    @property
    def nbytes(self) -> DimLike:
        """Bytes of a dense tensor."""
        return self.size * self.dtype.itemsize

    def range(self, low: int, high: int) -> TensorType:
        """The same type with values known to be within low <= v < high."""
        if high <= low:
            raise RuleError(f"empty value range {low} <= v < {high}")
        return replace(self, value_range=(low, high))

    def with_shape(self, shape: tuple[DimLike, ...]) -> TensorType:
        """The same element type in another shape."""
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        """The same shape of another element type."""
        return TensorType(dtype, self.shape)

    def substitute(self, mapping: Mapping[str, DimLike]) -> TensorType:
        """The type with symbolic dims replaced by name."""
        return replace(self, shape=tuple(substitute(d, mapping) for d in self.shape))

    def evaluate(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in integers."""
        return tuple(evaluate(d, sizes) for d in self.shape)

    def __str__(self) -> str:
        shape = f"[{', '.join(str(d) for d in self.shape)}]" if self.shape else ""
        bound = f".range({self.value_range[0]}, {self.value_range[1]})" if self.value_range else ""
        return f"{self.dtype}{shape}{bound}"

    __repr__ = __str__
