"""Numbers computed from symbolic sizes: `1.0 / S`, `S * 0.5`, `S ** -0.5`.

Unlike dims they are not integers. They have no value while tracing; beside a tensor they become a scalar of its element type,
as a Python float would.
"""

from __future__ import annotations

import operator
from typing import Any

from .errors import RuleError

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
_UFUNCS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "true_divide": operator.truediv, "floor_divide": operator.floordiv, "remainder": operator.mod, "power": operator.pow,
    "equal": operator.eq, "not_equal": operator.ne, "less": operator.lt, "less_equal": operator.le, "greater": operator.gt,
    "greater_equal": operator.ge,
}


def combine(op: str, left: object, right: object) -> Any:
    """The number `left op right`; NotImplemented (Python asks the other operand) if one is neither a number nor a size."""
    if all(isinstance(v, (int, float, Sized)) and not isinstance(v, bool) for v in (left, right)):
        return SizeNumber(op, left, right)
    return NotImplemented


def _plain(value: Any) -> Any:
    """A NumPy scalar as a Python number; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


class Sized:
    """Base class of dims and of numbers computed from them: the operators whose results are not integers, and comparisons."""

    __slots__ = ()

    def _no_value(self, *others: object) -> bool:
        """Raises RuleError, as Python cannot decide anything by a size; or NotImplemented, if the other operand can answer."""
        raise NotImplementedError

    def __lt__(self, other: object) -> bool:
        return self._no_value(other)

    def __le__(self, other: object) -> bool:
        return self._no_value(other)

    def __gt__(self, other: object) -> bool:
        return self._no_value(other)

    def __ge__(self, other: object) -> bool:
        return self._no_value(other)

    def __bool__(self) -> bool:
        return self._no_value()

    def __truediv__(self, other: float | Sized) -> SizeNumber:
        return combine("div", self, other)

    def __rtruediv__(self, other: float | Sized) -> SizeNumber:
        return combine("div", other, self)

    def __pow__(self, other: float | Sized) -> SizeNumber:
        return combine("pow", self, other)

    def __rpow__(self, other: float | Sized) -> SizeNumber:
        return combine("pow", other, self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Operators with a NumPy number on the left. Raises RuleError for all other functions of NumPy."""
        apply = _UFUNCS.get(ufunc.__name__)
        if any(getattr(value, "ndim", 0) for value in inputs):
            raise RuleError(f"np.{ufunc.__name__} of an array and {self}, which has no value while tracing; write "
                            "the operator beside a tensor, or tg.dim_size(size=S, dtype=tg.f32) for the size as one")
        if apply is None or method != "__call__" or options:
            raise RuleError(f"np.{ufunc.__name__} computes at once, and {self} has no value while tracing; operators do work, "
                            "as in x * S ** -0.5")
        return apply(*map(_plain, inputs))

    def __float__(self) -> float:
        raise RuleError(f"{self} has no value while tracing, so there is no Python float of it; operators do work, as in "
                        "x * S ** -0.5")


class SizeNumber(Sized):
    """An operation on sizes and Python numbers; `op` is the name of the op that it becomes."""

    __slots__ = ("left", "op", "right")

    def __init__(self, op: str, left: object, right: object):
        self.op: str = op
        self.left: object = left
        self.right: object = right

    def __add__(self, other: float | Sized) -> SizeNumber:
        return combine("add", self, other)

    def __radd__(self, other: float | Sized) -> SizeNumber:
        return combine("add", other, self)

    def __sub__(self, other: float | Sized) -> SizeNumber:
        return combine("sub", self, other)

    def __rsub__(self, other: float | Sized) -> SizeNumber:
        return combine("sub", other, self)

    def __mul__(self, other: float | Sized) -> SizeNumber:
        return combine("mul", self, other)

    def __rmul__(self, other: float | Sized) -> SizeNumber:
        return combine("mul", other, self)

    def __neg__(self) -> SizeNumber:
        return combine("mul", -1.0, self)

    def _no_value(self, *_: object) -> bool:
        raise RuleError(f"{self} has no value while tracing, so Python cannot decide anything by it")

    def __str__(self) -> str:
        shown = [f"({v})" if isinstance(v, Sized) and not str(v).isidentifier() else str(v) for v in (self.left, self.right)]
        return f"{shown[0]} {_SIGNS[self.op]} {shown[1]}"

    __repr__ = __str__
