"""Traced tensors, which have types but no values, and the parameters of layers.

A `Tensor` stands for a value of the graph under construction. Operators and functions on it add nodes by way of the current
tracer.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .arithmetic import Arithmetic
from .conversions import Conversions
from .current_tracer import TracerLike, apply
from .indexing import index as take
from .ir.dims import DimLike
from .ir.dtypes import DType, as_type
from .ir.types import TensorType
from .ir.values import Value
from .ir.weights import Initializer
from .masks import not_a_mask
from .user_code import model_error

if TYPE_CHECKING:
    from .typed_ops import Methods
else:  # tgraph.functions adds them
    Methods = object


class Operators(Conversions, Arithmetic, Methods):
    """Python operators and common methods of tensors and parameters. Indexing follows NumPy."""

    type: TensorType

    @property
    def shape(self) -> tuple[DimLike, ...]:
        """Sizes: integers, and symbolic dims where a size is known only at run time."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def rank(self) -> int:
        return self.type.rank

    def __neg__(self) -> Tensor:
        return apply("neg", not_a_mask("neg", self))

    def __invert__(self) -> Tensor:
        return apply("logical_not", self)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __round__(self, digits: int | None = None) -> Tensor:
        if digits:
            raise model_error(f"round({self!r}, {digits}): write tg.round(x * {10 ** digits}) / {10 ** digits}")
        return apply("round", self)

    def __floor__(self) -> Tensor:
        return apply("floor", self)

    def __ceil__(self) -> Tensor:
        return apply("ceil", self)

    def __abs__(self) -> Tensor:
        return apply("abs", self)

    def __getitem__(self, index: Any) -> Tensor:
        result = take(self, index if isinstance(index, tuple) else (index,))
        return result if isinstance(result, Tensor) else apply("reshape", result, shape=result.shape)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape or not isinstance(self.shape[0], int):
            raise model_error(f"{self!r} has no first axis of known size to go through; write ops on the whole axis, which take "
                         "all rows at once, or give it a number in the spec")
        return (self[i] for i in builtins.range(self.shape[0]))

    def __len__(self) -> int:
        if not self.shape or not isinstance(self.shape[0], int):
            raise model_error(f"the length of {self!r} is not known while tracing; write x.shape[0], a dim that counts and "
                         "multiplies like a number")
        return self.shape[0]

    def __bool__(self) -> bool:
        raise model_error(f"the value of {self!r} is not known while tracing, so Python's if, while, and, or, not cannot "
                         "depend on it; use tg.where(condition, x, y), &, | or ~")

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return apply("transpose", self)


class Tensor(Operators):
    """A value of the graph under construction."""

    __slots__ = ("tracer", "value")

    def __init__(self, value: Value, tracer: TracerLike):
        self.value: Value = value
        self.tracer: TracerLike = tracer

    @property
    def type(self) -> TensorType:  # type: ignore[override]
        """Element type and shape."""
        return self.value.type

    def __repr__(self) -> str:
        return f"tensor {self.type}"


class Parameter(Operators):
    """A trainable array of a layer, known by the path of the attribute that holds it.

    `data` overrides the initial values, which `initializer` makes from a generator seeded by the name when they are
    first needed (default: normal, with standard deviation 0.02 as BERT has it).
    """

    def __init__(self, type: TensorType, initializer: Initializer | None = None, data: np.ndarray | None = None):
        self.type: TensorType = as_type(type)
        self.initializer: Initializer = initializer or normal()
        self.data: np.ndarray | None = data

    def __repr__(self) -> str:
        return f"parameter {self.type}"


def normal(std: float = 0.02) -> Initializer:
    """Initial values from a normal distribution of mean 0."""
    return lambda generator, shape: generator.standard_normal(shape, dtype=np.float32) * np.float32(std)


def constant(value: float) -> Initializer:
    """Initial values all the same."""
    return lambda _, shape: np.full(shape, value, dtype=np.float32)
