"""Sorting, and elements along an axis by number, as PyTorch and NumPy call them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..current_tracer import apply
from ..ir.errors import RuleError
from ..ir.rules import axis_index
from ..tensor import Tensor
from .calls import as_tensor, function


class Ordered(NamedTuple):
    """Elements in order, and where they were."""

    values: Tensor
    indices: Tensor


@function(method=True)
def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True, *, kind: str | None = None) -> Tensor:
    """All sorts are stable; `stable` and `kind` are taken and change nothing."""
    return apply("argsort", x, axis=axis, descending=descending)


@function(method=True)
def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True, *, kind: str | None = None) -> Ordered:
    """Elements along an axis in ascending order, as PyTorch's (values, indices); NumPy's sort is sort(x).values.

    NaN is the largest. Stable; costs what `argsort` does.
    """
    x = as_tensor(x)
    indices = apply("argsort", x, axis=axis, descending=descending)
    return Ordered(apply("take_along_axis", x, indices, axis=axis), indices)


@function(method=True)
def topk(x: Any, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> Ordered:
    """PyTorch's (values, indices); they are always in order."""
    return Ordered(*apply("topk", x, k=k, axis=axis, largest=largest))


@function(method=True)
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Axes of size 1 broadcast, in x and in the indices. Without an axis, of a tensor of rank 1, as NumPy."""
    x, indices = as_tensor(x), as_tensor(indices)
    if axis is None:
        if x.rank != 1:
            raise RuleError("NumPy flattens x where no axis is given; write axis=-1 for the last, or flatten x first")
        axis = 0
    at = axis_index(axis, x.rank)
    x, indices = _beside(x, indices, at), _beside(indices, x, at)
    return apply("take_along_axis", x, indices, axis=at)


def _beside(x: Any, other: Any, at: int) -> Any:
    """x with its axes of size 1, but for `at`, as large as the other's."""
    if x.rank != other.rank:
        return x
    shape = tuple(other.shape[i] if size == 1 and i != at else size for i, size in enumerate(x.shape))
    return x if shape == x.shape else apply("expand", x, shape=shape)


def _scatter(name: str, x: Any, given: Sequence[Any], axis: Any, indices: Any, updates: Any, reduction: str) -> Tensor:
    arguments = list(given)
    if arguments and isinstance(arguments[0], (int, np.integer)) and not isinstance(arguments[0], bool):
        if axis is not None:
            raise RuleError("the axis is given twice")
        axis = int(arguments.pop(0))
    indices = arguments.pop(0) if indices is None and arguments else indices
    updates = arguments.pop(0) if updates is None and arguments else updates
    axis = arguments.pop(0) if axis is None and arguments else axis
    if arguments or indices is None or updates is None or axis is None:
        raise RuleError(f"is called as {name}(x, indices, updates, axis), or as PyTorch's {name}(x, axis, indices, updates)")
    x, indices = as_tensor(x), as_tensor(indices)
    at = axis_index(axis, x.rank)
    if isinstance(updates, (bool, int, float)):
        updates = apply("full", shape=indices.shape, value=updates, dtype=x.dtype)
    updates = as_tensor(updates)
    indices, updates = _beside(indices, updates, -1), _beside(updates, indices, -1)
    return apply("scatter", x, indices, updates, axis=at, reduction=reduction)


@function(method=True)
def scatter(x: Any, *given: Any, axis: Any = None, indices: Any = None, updates: Any = None,
            reduction: str = "none") -> Tensor:
    """scatter(x, indices, updates, axis), or in PyTorch's order scatter(x, axis, indices, updates). Updates may be a number."""
    names = {"add": "add", "sum": "add", "multiply": "mul", "mul": "mul", "prod": "mul", "amax": "max", "amin": "min"}
    return _scatter("scatter", x, given, axis, indices, updates, names.get(reduction, reduction))


@function(method=True)
def scatter_add(x: Any, *given: Any, axis: Any = None, indices: Any = None, updates: Any = None) -> Tensor:
    """`scatter` with reduction="add": scatter_add(x, axis, indices, updates)."""
    return _scatter("scatter_add", x, given, axis, indices, updates, "add")
