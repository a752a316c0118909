"""Ramps in a graph: as tensors, and as places where something is read, which are slices and views of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

from ...functions import function_of
from ...ir.dims import Dim, DimLike
from ...ir.dtypes import dtype_of
from ...ir.rules import broadcast_shapes
from .known import Columns, Ramp
from .node import OnnxNode
from .ramps import holds


def _apply(name: str, *operands: Any, **attributes: Any) -> Any:
    function = function_of(name)
    assert function is not None
    return function(*operands, **attributes)


def as_tensor(ramp: Ramp) -> Any:
    """The elements of a ramp as a tensor."""
    dtype = dtype_of(ramp.dtype)
    if ramp.is_constant:
        return _apply("full", tuple(ramp.shape), ramp.start, dtype=dtype)
    total: Any = None
    start: DimLike = ramp.start
    for axis in ramp.along():
        size, step = ramp.shape[axis], ramp.steps[axis]
        first = start if step == 1 else 0
        start = 0 if step == 1 else start
        one = _apply("range", start=first, stop=first + size, dtype=dtype)
        one = one if step == 1 else one * (_apply("dim_size", size=step, dtype=dtype) if isinstance(step, Dim) else step)
        one = _apply("reshape", one, shape=tuple(size if i == axis else 1 for i in range(len(ramp.shape))))
        total = one if total is None else total + one
    if total is None or isinstance(start, Dim) or start != 0:
        number = _apply("dim_size", size=start, dtype=dtype) if isinstance(start, Dim) else start
        total = number if total is None else total + number
    return total if total.shape == tuple(ramp.shape) else _apply("broadcast_to", total, tuple(ramp.shape))


def columns_as_tensor(columns: Columns) -> Any:
    """The columns of indices side by side."""
    return _apply("stack", [as_tensor(part) for part in columns.parts], axis=-1)


def read(x: Any, first: int, places: Sequence[Ramp]) -> Any:
    """x at the places that ramps of one shape give for its axes from `first` on; None where that is no slice of x.

    [*x.shape[:first], *places' shape, *the rest of x.shape], as NumPy's x[:, places[0], places[1]].
    """
    if len(places) == 1 and (digits := _digits(x.shape[first], places[0])) is not None:
        x = _apply("reshape", x, shape=(*x.shape[:first], *digits[0], *x.shape[first + 1:]))
        places = digits[1]
    shape = places[0].shape
    order: list[int] = []  # for each axis of the places, the axis of x that runs along it
    running: dict[int, int] = {}
    for i, ramp in enumerate(places):
        axes = ramp.along()
        if len(axes) > 1 or (axes and (axes[0] in running or ramp.steps[axes[0]] != 1)):
            return None
        if axes:
            running[axes[0]] = first + i
        size = x.shape[first + i]
        start = ramp.start
        if isinstance(start, int) and start < 0:
            start = start + size
        if holds(start, 0) is not True:
            return None
        stop = start + (shape[axes[0]] if axes else 1)
        if start != 0 or stop != size:
            if holds(size, stop) is False:
                return None
            x = _apply("slice", x, starts=(start,), stops=(stop,), axes=(first + i,))
    order = [running[a] for a in sorted(running)]
    still = [first + i for i in range(len(places)) if first + i not in order]
    rank, count = len(x.shape), len(places)
    perm = [*range(first), *order, *still, *range(first + count, rank)]
    if perm != sorted(perm):
        x = _apply("permute", x, *perm)
    lead, rest = x.shape[:first], x.shape[first + count:]
    apart = (*lead, *(n if a in running else 1 for a, n in enumerate(shape)), *rest)
    x = x if x.shape == apart else _apply("reshape", x, shape=apart)
    whole = (*lead, *shape, *rest)
    return x if x.shape == whole else _apply("broadcast_to", x, whole)


def _digits(size: DimLike, place: Ramp) -> tuple[list[DimLike], list[Ramp]] | None:
    """A place b S + s in an axis of size B S as places b and s, and the sizes B and S; None for other places."""
    axes = place.along()
    if not 2 <= len(axes) <= 4 or place.start != 0:
        return None
    for order in permutations(axes):
        sizes = [_quotient(whole, place.steps[axis]) for whole, axis in zip((size, *(place.steps[a] for a in order)), order)]
        if place.steps[order[-1]] == 1 and all(_within(place.shape[axis], n) for n, axis in zip(sizes, order)):
            digits = [Ramp(place.shape, 0, tuple(int(i == axis) for i in range(len(place.shape))), place.dtype) for axis in order]
            return [n for n in sizes if n is not None], digits
    return None


def _within(count: DimLike, size: DimLike | None) -> bool:
    """Whether places up to `count` stay within a digit of a size; of two symbolic sizes a call shows it."""
    if size is None:
        return False
    verdict = holds(size, count)
    return verdict is True or (verdict is None and isinstance(size, Dim))


def _quotient(whole: DimLike, part: DimLike) -> DimLike | None:
    """whole / part, if that leaves no rest for any sizes."""
    if isinstance(part, int) and part == 0:
        return None
    found = whole // part
    return found if found * part == whole else None


def decided(node: OnnxNode, tensor: Callable[[Any], Any]) -> Any:
    """The result of a logical op or a selection where an operand that is one boolean decides it; else None."""
    if node.op not in ("And", "Or", "Where") or any(o is None for o in node.operands):
        return None
    ramps = [Ramp.of(o) for o in node.operands]
    if node.op == "Where":
        chosen = ramps[0]
        if chosen is None or not chosen.is_constant:
            return None
        kept = node.operands[1 if chosen.start else 2]
    else:
        for ramp, other in zip(ramps, node.operands[::-1]):
            if ramp is not None and ramp.is_constant and bool(ramp.start) == (node.op == "And"):
                kept = other
                break
        else:
            return None
    x = tensor(kept)
    shape: tuple[DimLike, ...] = ()
    for operand in node.operands:
        shape = broadcast_shapes(shape, tuple(operand.shape if isinstance(operand, Ramp) else tensor(operand).shape))
    return x if x.shape == shape else _apply("broadcast_to", x, shape)
