"""What a model handles while it is traced: tensors without values, and the parameters of its layers.

A `Tensor` stands for a value of the graph under construction. It is not that value: operators and functions on it
go to the tracer at work, which adds nodes.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .ir.dims import Dim, DimLike, bounds
from .ir.dtypes import DType
from .ir.errors import TraceError
from .ir.registry import Op, get_op
from .ir.types import TensorType, as_type
from .ir.values import Value
from .ir.weights import Initializer


class TracerLike(Protocol):
    """What applies ops while tracing; `tgraph.trace.Tracer` is the one."""

    def apply(self, op: Op, operands: tuple[Any, ...], named: dict[str, Any]) -> Any: ...

    def scope(self, module: Any) -> AbstractContextManager[None]: ...


current_tracer: ContextVar[TracerLike | None] = ContextVar("tgraph_tracer", default=None)


def apply(op: str | Op, /, *operands: Any, **named: Any) -> Any:
    """Apply an op to tensors, parameters, NumPy arrays and Python numbers. Raises OpError, or TraceError outside a trace."""
    op = get_op(op) if isinstance(op, str) else op
    tracer = current_tracer.get()
    if tracer is None:
        raise TraceError(f"{op.name}() builds a graph, so it can only be called by a function that tg.trace is tracing")
    return tracer.apply(op, operands, named)


def _error(message: str) -> TraceError:
    """An error with the user's line."""
    from .trace import model_error

    return model_error(message)


def _binary(op: str) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    return lambda self, other: apply(op, self, other), lambda self, other: apply(op, other, self)


class Operators:
    """Python operators and the common methods, for tensors and parameters alike. Indexing follows NumPy."""

    type: TensorType
    __array_ufunc__ = None  # a NumPy array on the left leaves the operator to us
    __hash__ = object.__hash__

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

    __add__, __radd__ = _binary("add")
    __sub__, __rsub__ = _binary("sub")
    __mul__, __rmul__ = _binary("mul")
    __truediv__, __rtruediv__ = _binary("div")
    __floordiv__, __rfloordiv__ = _binary("floor_div")
    __mod__, __rmod__ = _binary("mod")
    __pow__, __rpow__ = _binary("pow")
    __matmul__, __rmatmul__ = _binary("matmul")
    __and__, __rand__ = _binary("logical_and")
    __or__, __ror__ = _binary("logical_or")
    __xor__, __rxor__ = _binary("logical_xor")
    __lt__ = _binary("less")[0]
    __le__ = _binary("less_or_equal")[0]
    __gt__ = _binary("greater")[0]
    __ge__ = _binary("greater_or_equal")[0]
    __eq__ = _binary("equal")[0]  # type: ignore[assignment]
    __ne__ = _binary("not_equal")[0]  # type: ignore[assignment]

    def __neg__(self) -> Tensor:
        return apply("neg", self)

    def __invert__(self) -> Tensor:
        return apply("logical_not", self)

    def __abs__(self) -> Tensor:
        return apply("abs", self)

    def __getitem__(self, index: Any) -> Tensor:
        return _index(self, index if isinstance(index, tuple) else (index,))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in builtins.range(len(self)))

    def __len__(self) -> int:
        if not self.shape or not isinstance(self.shape[0], int):
            raise _error(f"the length of {self!r} is not known while tracing")
        return self.shape[0]

    def __bool__(self) -> bool:
        raise _error(f"the value of {self!r} is not known while tracing, so Python's if, while, and, or, not cannot "
                         "depend on it; use tg.where(condition, x, y), &, | or ~")

    def _no_number(self, *_: Any) -> Any:
        raise _error(f"the value of {self!r} is not known while tracing; it has no Python or NumPy number")

    __int__ = __float__ = __index__ = __array__ = _no_number

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return apply("transpose", self)

    def astype(self, dtype: DType) -> Tensor:
        """Cast to another element type."""
        return apply("cast", self, dtype=dtype)

    if TYPE_CHECKING:  # the methods that tgraph.functions adds: sum, softmax, permute, ...
        def __getattr__(self, name: str) -> Any: ...


class Tensor(Operators):
    """A value of the graph under construction."""

    __slots__ = ("tracer", "value")

    def __init__(self, value: Value, tracer: TracerLike):
        self.value, self.tracer = value, tracer

    @property
    def type(self) -> TensorType:  # type: ignore[override]
        return self.value.type

    def __repr__(self) -> str:
        return f"tensor {self.type}"


class Parameter(Operators):
    """A trainable array of a layer, known by the path of the attribute that holds it.

    `data` overrides the initial values, which `initializer` makes from a generator seeded by the name when they are
    first needed (default: normal, with standard deviation 0.02 as BERT has it).
    """

    def __init__(self, type: TensorType, initializer: Initializer | None = None, data: np.ndarray | None = None):
        self.type = as_type(type)
        self.initializer = initializer or normal()
        self.data = data

    def __repr__(self) -> str:
        return f"parameter {self.type}"


def normal(std: float = 0.02) -> Initializer:
    """Initial values from a normal distribution of mean 0."""
    return lambda generator, shape: generator.standard_normal(shape, dtype=np.float32) * np.float32(std)


def constant(value: float) -> Initializer:
    """Initial values all the same."""
    return lambda _, shape: np.full(shape, value, dtype=np.float32)


def _index(x: Any, index: tuple[Any, ...]) -> Tensor:
    """NumPy's basic indexing as slice, squeeze and unsqueeze; one integer tensor gathers along its axis."""
    taken = builtins.sum(i is not None and i is not Ellipsis for i in index)
    if taken > x.rank or builtins.sum(i is Ellipsis for i in index) > 1:
        raise _error(f"too many indices for {x!r}: {taken} for rank {x.rank}")
    if not any(i is Ellipsis for i in index):
        index = (*index, Ellipsis)
    cuts: list[tuple[int, Any, Any, int]] = []  # axis, start, stop, step
    squeezed: list[int] = []
    added: list[int] = []
    gathered: tuple[int, Any] | None = None
    axis = position = 0  # of the operand, of the result before squeezing
    for i in index:
        if i is Ellipsis:
            axis, position = axis + x.rank - taken, position + x.rank - taken
            continue
        if i is None:
            added.append(position - len(squeezed))
            position += 1
            continue
        if isinstance(i, slice):
            if i != slice(None):
                step = 1 if i.step is None else i.step
                cuts.append((axis, i.start, i.stop, step))
        elif isinstance(i, (Operators, np.ndarray)):
            if gathered:
                raise _error("only one index may be a tensor; use tg.gather for the others")
            gathered = axis, i
        else:
            i = _position(x, axis, i)
            if isinstance(x.shape[axis], Dim) and isinstance(i, int) and not (0 <= i < (bounds(x.shape[axis])[0] or 0)):
                # whether there is such an element shows at run time: gather checks it
                return _index(apply("gather", x, np.int64(i), axis=axis), _without(index, axis, x.rank))
            cuts.append((axis, i, i + 1 if i != -1 else None, 1))
            squeezed.append(axis)
        axis, position = axis + 1, position + 1
    if gathered and (squeezed or added):
        raise _error("a tensor index cannot be mixed with integers or None; use tg.gather")
    if cuts:
        axes, starts, stops, steps = zip(*cuts)
        x = apply("slice", x, starts=starts, stops=stops, axes=axes, steps=steps)
    if gathered:
        x = apply("gather", x, gathered[1], axis=gathered[0])
    if squeezed:
        x = apply("squeeze", x, axes=tuple(squeezed))
    if added:
        x = apply("unsqueeze", x, axes=tuple(added))
    return x if isinstance(x, Tensor) else apply("reshape", x, shape=x.shape)


def _position(x: Any, axis: int, i: Any) -> DimLike:
    """One integer of an index. Raises TraceError for another thing, and for an element that there never is."""
    if isinstance(i, bool) or not isinstance(i, (int, np.integer, Dim)):
        raise _error(f"an index is made of integers, slices, None, ... and one integer tensor, got {type(i).__name__} ({i!r})")
    position: DimLike = i if isinstance(i, Dim) else int(i)
    size = x.shape[axis]
    if isinstance(size, int) and isinstance(position, int) and not -size <= position < size:
        raise _error(f"index {position} is outside of axis {axis}, of size {size}, of {x!r}")
    return position


def _without(index: tuple[Any, ...], axis: int, rank: int) -> tuple[Any, ...]:
    """The index that is left when the integer for one axis has been applied."""
    at = 0
    for position, i in enumerate(index):
        if i is Ellipsis:
            at += rank - builtins.sum(j is not None and j is not Ellipsis for j in index)
        elif i is not None:
            if at == axis:
                return (*index[:position], *index[position + 1:])
            at += 1
    return index
