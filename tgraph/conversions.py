"""Protocols of Python, NumPy and PyTorch for traced tensors.

Casts have the names of all three. Operators with a NumPy array or number on the left (`np.ones(4) + x`) are the tensor's own.
All other functions of NumPy, PyTorch and Python compute at once, which a tensor without values cannot: they raise an error that
says what to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .current_tracer import apply
from .hints import MissingAttribute, functions_of_line, instead_of, instead_of_attribute, near
from .ir.dtypes import as_dtype
from .user_code import model_error, user_location, with_line

if TYPE_CHECKING:
    from .tensor import Tensor

# NumPy's functions that an operator with an array or a NumPy number on its left calls, and our operator
_OPERATORS = {
    "add": "__add__", "subtract": "__sub__", "multiply": "__mul__", "divide": "__truediv__", "true_divide": "__truediv__",
    "floor_divide": "__floordiv__", "remainder": "__mod__", "power": "__pow__", "matmul": "__matmul__",
    "bitwise_and": "__and__", "bitwise_or": "__or__", "bitwise_xor": "__xor__", "less": "__lt__", "less_equal": "__le__",
    "greater": "__gt__", "greater_equal": "__ge__", "equal": "__eq__", "not_equal": "__ne__",
}
_OF_TORCH = {
    "add": "__radd__", "sub": "__rsub__", "mul": "__rmul__", "div": "__rtruediv__", "true_divide": "__rtruediv__",
    "floor_divide": "__rfloordiv__", "remainder": "__rmod__", "pow": "__rpow__", "matmul": "__rmatmul__",
    "bitwise_and": "__rand__", "bitwise_or": "__ror__", "bitwise_xor": "__rxor__", "lt": "__gt__", "le": "__ge__",
    "gt": "__lt__", "ge": "__le__", "eq": "__eq__", "ne": "__ne__",
}
_SWAPPED = {"__lt__": "__gt__", "__le__": "__ge__", "__gt__": "__lt__", "__ge__": "__le__", "__eq__": "__eq__",
            "__ne__": "__ne__"}


class Conversions:
    """Base class of tensors and parameters: casts, and errors for what needs values."""

    takes_sizes = True  # a dim on the left of an operator leaves it to us

    # Element types

    def astype(self, dtype: Any) -> Tensor:
        """Cast to another element type: tg.f32, np.float32, "float32"."""
        result: Tensor = apply("cast", self, dtype=dtype)
        return result

    def to(self, dtype: Any) -> Tensor:
        """Cast to another element type. There are no devices: `tg.compile(graph, target=...)` chooses what runs the graph."""
        try:
            as_dtype(dtype)
        except TypeError:
            _raise(f"{self!r}.to({dtype!r}): x.to takes an element type such as tg.f16; what runs the graph is chosen by "
                   "tg.compile(graph, target=...)")
        return self.astype(dtype)

    def half(self) -> Tensor:
        """Cast to f16."""
        return self.astype("f16")

    def bfloat16(self) -> Tensor:
        """Cast to bf16."""
        return self.astype("bf16")

    def double(self) -> Tensor:
        """Cast to f64."""
        return self.astype("f64")

    def long(self) -> Tensor:
        """Cast to i64."""
        return self.astype("i64")

    # Numbers of Python's and NumPy's

    def _no_number(self) -> NoReturn:
        place = user_location()
        hints = functions_of_line(place.file, place.line) if place else []
        _raise(f"the value of {self!r} is not known while tracing; it has no Python or NumPy number"
               + (f"; write {', '.join(hints)}" if hints else
                  "; write the computation in ops (tg.sqrt(x), tg.where(condition, x, y)), or return it as an output"))

    def __int__(self) -> NoReturn:
        self._no_number()

    def __float__(self) -> NoReturn:
        self._no_number()

    def __complex__(self) -> NoReturn:
        self._no_number()

    def __index__(self) -> NoReturn:
        self._no_number()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        self._no_number()

    def __str__(self) -> str:
        place = user_location()
        line = f"; printed at {place.file}:{place.line}" if place else ""
        return f"{self!r} (without values while tracing: return it as an output to see them{line})"

    def __format__(self, spec: str) -> str:
        if spec:
            self._no_number()
        return str(self)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        _raise(f"{self!r} cannot change: x[...] = y has no meaning in a graph; write a new tensor, as "
               "x = tg.where(condition, y, x), or tg.concat of the parts")

    def __delitem__(self, index: Any) -> NoReturn:
        _raise(f"{self!r} cannot change; write a slice of it, or tg.concat of the parts that stay")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("type", "value", "tracer", "initializer"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise MissingAttribute(with_line(f"a tensor has no {name!r}: {instead_of_attribute(name)}"))

    # Functions of NumPy and PyTorch

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        ours = _OPERATORS.get(ufunc.__name__)
        if ours is None or method != "__call__" or options:
            if "out" in options and ours is not None:
                _raise(f"a tensor cannot be put into a NumPy array: write a = a + x, not a += x (np.{ufunc.__name__})")
            name = ufunc.__name__ + (f".{method}" if method != "__call__" else "")
            _refuse(f"np.{name}", name, inputs)
        left, right = inputs
        if isinstance(left, Conversions):
            return getattr(left, ours)(right)
        return getattr(right, _SWAPPED.get(ours) or f"__r{ours[2:]}")(left)

    def __array_function__(self, function: Any, types: Any, arguments: Any, named: Any) -> Any:
        _refuse(f"np.{function.__name__}", function.__name__, arguments)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        name = getattr(function, "__name__", str(function)).strip("_")
        ours = _OF_TORCH.get(name)
        if ours is None or len(arguments) != 2 or named:
            _refuse(f"torch's {name}", name, (*arguments, *(named or {}).values()))
        left, right = arguments  # of an operator with a tensor of PyTorch's on its left
        return getattr(right, ours)(left) if isinstance(right, Conversions) else getattr(left, _back(ours))(right)


def _back(ours: str) -> str:
    return _SWAPPED.get(ours) or f"__{ours[3:]}"


def _refuse(function: str, name: str, arguments: Iterable[Any]) -> NoReturn:
    flat = [a for argument in arguments for a in (argument if isinstance(argument, (list, tuple)) else (argument,))]
    tensor = next((a for a in flat if isinstance(a, Conversions)), None)
    found = instead_of(name)
    write = f"write {found}" if found else near(name)
    _raise(f"{function} computes at once, and {tensor!r} has no values while tracing; {write}")


def _raise(message: str) -> NoReturn:
    raise model_error(message)
