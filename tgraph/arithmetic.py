"""Python's operators of two tensors: each applies the op of its meaning, with masks as `masks` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .current_tracer import apply
from .masks import unmasked

if TYPE_CHECKING:
    from .tensor import Tensor
    from .typed_ops import TensorLike


def _apply(op: str, left: Any, right: Any) -> Tensor:
    result: Tensor = apply(op, *unmasked(op, left, right))
    return result


class Arithmetic:
    """The operators. Beside a tensor stands a tensor, a NumPy array, a Python number or a dim."""

    def __add__(self, other: TensorLike) -> Tensor:
        return _apply("add", self, other)

    def __radd__(self, other: TensorLike) -> Tensor:
        return _apply("add", other, self)

    def __sub__(self, other: TensorLike) -> Tensor:
        return _apply("sub", self, other)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return _apply("sub", other, self)

    def __mul__(self, other: TensorLike) -> Tensor:
        return _apply("mul", self, other)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return _apply("mul", other, self)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return _apply("div", self, other)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return _apply("div", other, self)

    def __floordiv__(self, other: TensorLike) -> Tensor:
        return _apply("floor_div", self, other)

    def __rfloordiv__(self, other: TensorLike) -> Tensor:
        return _apply("floor_div", other, self)

    def __mod__(self, other: TensorLike) -> Tensor:
        return _apply("mod", self, other)

    def __rmod__(self, other: TensorLike) -> Tensor:
        return _apply("mod", other, self)

    def __pow__(self, other: TensorLike) -> Tensor:
        return _apply("pow", self, other)

    def __rpow__(self, other: TensorLike) -> Tensor:
        return _apply("pow", other, self)

    def __matmul__(self, other: TensorLike) -> Tensor:
        return _apply("matmul", self, other)

    def __rmatmul__(self, other: TensorLike) -> Tensor:
        return _apply("matmul", other, self)

    def __and__(self, other: TensorLike) -> Tensor:
        return _apply("logical_and", self, other)

    def __rand__(self, other: TensorLike) -> Tensor:
        return _apply("logical_and", other, self)

    def __or__(self, other: TensorLike) -> Tensor:
        return _apply("logical_or", self, other)

    def __ror__(self, other: TensorLike) -> Tensor:
        return _apply("logical_or", other, self)

    def __xor__(self, other: TensorLike) -> Tensor:
        return _apply("logical_xor", self, other)

    def __rxor__(self, other: TensorLike) -> Tensor:
        return _apply("logical_xor", other, self)

    def __lt__(self, other: TensorLike) -> Tensor:
        return _apply("less", self, other)

    def __le__(self, other: TensorLike) -> Tensor:
        return _apply("less_or_equal", self, other)

    def __gt__(self, other: TensorLike) -> Tensor:
        return _apply("greater", self, other)

    def __ge__(self, other: TensorLike) -> Tensor:
        return _apply("greater_or_equal", self, other)

    def __eq__(self, other: TensorLike) -> Tensor:  # type: ignore[override]
        return _apply("equal", self, other)

    def __ne__(self, other: TensorLike) -> Tensor:  # type: ignore[override]
        return _apply("not_equal", self, other)

    def __hash__(self) -> int:
        return object.__hash__(self)
