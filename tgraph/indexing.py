"""Indexing of traced tensors as in NumPy: slices, integers, None, ..., adjacent integer tensors, or one mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from .conversions import Conversions
from .current_tracer import apply, current_tracer
from .ir.dims import Dim, DimLike, bounds
from .ir.errors import RuleError
from .ir.registry import get_op
from .user_code import model_error


def index(x: Any, given: tuple[Any, ...]) -> Any:
    """`x[given]`; x itself if that is all of it. Raises TraceError for a bad index, OpError for slices that do not fit."""
    items = _complete(x, [_array(i) for i in given])
    advanced = [at for at, (_, i) in enumerate(items) if _is_array(i)]
    if any(_is_mask(items[at][1]) for at in advanced):
        return _masked(x, items, advanced)
    if len(advanced) > 1 or (advanced and any(isinstance(i, (int, np.integer, Dim)) for _, i in items)):
        return _side_by_side(x, items)
    return _basic(x, items)


Items = list[tuple[int, Any]]  # the axis that an index begins at, and the index; None has the axis before which it stands


def _array(i: Any) -> Any:
    """A list of integers or of booleans as an array; anything else as it is."""
    if not isinstance(i, list):
        return i
    try:
        array = np.asarray(i)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iub" and array.size:
        raise model_error(f"a list that is an index holds integers or booleans, got {i!r}")
    return array if array.size else array.astype(np.int64)


def _is_array(i: Any) -> bool:
    return isinstance(i, (Conversions, np.ndarray))


def _is_mask(i: Any) -> bool:
    return (isinstance(i, Conversions) and i.dtype.is_bool) or (isinstance(i, np.ndarray) and i.dtype == np.bool_)


def _rank(i: Any) -> int:
    """How many axes an index consumes."""
    if i is None or i is Ellipsis:
        return 0
    return len(i.shape) if _is_mask(i) else 1


def _complete(x: Any, given: list[Any]) -> Items:
    """Every index with its axis, the ellipsis replaced by full slices."""
    taken = sum(map(_rank, given))
    dots = [at for at, i in enumerate(given) if i is Ellipsis]
    if taken > x.rank or len(dots) > 1:
        raise model_error(f"too many indices for {x!r}: {taken} for rank {x.rank}")
    at = dots[0] if dots else len(given)
    whole = [slice(None)] * (x.rank - taken)
    items: Items = []
    axis = 0
    for i in (*given[:at], *whole, *given[at + 1:]):
        items.append((axis, i))
        axis += _rank(i)
    return items


def _basic(x: Any, items: Items) -> Any:
    """Apply slices, integers and None by slice, squeeze and unsqueeze, and at most one integer tensor by gather."""
    cuts: list[tuple[int, Any, Any, int]] = []  # axis, start, stop, step
    checked: list[tuple[int, int]] = []  # axis, number of an element that may not be there
    removed: list[int] = []
    added: list[int] = []
    gathered: tuple[int, Any] | None = None
    for axis, i in items:
        if i is None:
            added.append(axis - len(removed) + len(added))
        elif isinstance(i, slice):
            if i != slice(None):
                cuts.append((axis, i.start, i.stop, 1 if i.step is None else i.step))
        elif _is_array(i):
            gathered = axis, i
        else:
            position = _position(x, axis, i)
            if (isinstance(x.shape[axis], Dim) and isinstance(position, int)
                    and not 0 <= position < (bounds(x.shape[axis])[0] or 0)):
                checked.append((axis, position))  # whether there is such an element shows at run time: gather checks it
            else:
                cuts.append((axis, position, position + 1 if position != -1 else None, 1))
            removed.append(axis)
    if gathered and added:
        raise model_error("a tensor index cannot be mixed with None; write tg.unsqueeze(..., axes=...) around it")
    for axis, number in reversed(checked):
        x = apply("gather", x, np.int64(number), axis=axis)
    gone = [axis for axis, _ in checked]

    def left(axis: int) -> int:
        return axis - sum(other < axis for other in gone)

    if cuts:
        axes, starts, stops, steps = zip(*cuts)
        x = apply("slice", x, starts=starts, stops=stops, axes=tuple(map(left, axes)), steps=steps)
    if gathered:
        x = apply("gather", x, gathered[1], axis=left(gathered[0]))
    if removed := [axis for axis in removed if axis not in gone]:
        x = apply("squeeze", x, axes=tuple(map(left, removed)))
    return apply("unsqueeze", x, axes=tuple(added)) if added else x


def _position(x: Any, axis: int, i: Any) -> DimLike:
    """An integer of an index. Raises TraceError for anything else, and if it is outside of the axis."""
    if isinstance(i, bool) or not isinstance(i, (int, np.integer, Dim)):
        raise model_error("an index is made of integers, slices, None, ..., integer tensors and masks, "
                          f"got {type(i).__name__} ({i!r})")
    position: DimLike = i if isinstance(i, Dim) else int(i)
    size = x.shape[axis]
    if isinstance(size, int) and isinstance(position, int) and not -size <= position < size:
        raise model_error(f"index {position} is outside of axis {axis}, of size {size}, of {x!r}")
    return position


def _apart(x: Any, items: Items, group: list[int], what: str) -> Any:
    """x with the slices around a group of indices applied. Raises TraceError for other indices around the group."""
    rest = [(axis, i) for at, (axis, i) in enumerate(items) if at not in group]
    if not all(isinstance(i, slice) for _, i in rest):
        raise model_error(f"{what} can be mixed with slices only; write the others as an index of their own: x[...][...]")
    return _basic(x, rest)


def _side_by_side(x: Any, items: Items) -> Any:
    """x[i, j] for adjacent index tensors: merge their axes into one, and gather the elements i * size + j of it."""
    group = [at for at, (_, i) in enumerate(items) if not (i is None or isinstance(i, slice))]
    if group != list(range(group[0], group[-1] + 1)):
        raise model_error("index tensors must stand side by side (NumPy puts the axes of others first): "
                          "transpose the axes to be indexed together, or index in two steps")
    first = items[group[0]][0]
    indices = []
    for at in group:
        axis, i = items[at]
        indices.append(i if _is_array(i) else _number(_position(x, axis, i)))
    x = _apart(x, items, group, "several index tensors")
    sizes = x.shape[first:first + len(group)]
    number: Any = None
    for size, i in zip(sizes, indices):
        # gather from 0, 1, 2, ... counts negative indices from the end, and checks them
        position = apply("gather", apply("range", stop=size), i, axis=0)
        number = position if number is None else number * size + position
    return apply("gather", _merged(x, first, len(group)), number, axis=first)


def _number(position: DimLike) -> Any:
    return apply("dim_size", size=position) if isinstance(position, Dim) else np.asarray(position, np.int64)


def _merged(x: Any, axis: int, count: int) -> Any:
    """x with `count` axes, from `axis` on, as one."""
    if count == 1:
        return x
    size: DimLike = 1
    for d in x.shape[axis:axis + count]:
        size = size * d
    return apply("reshape", x, shape=(*x.shape[:axis], size, *x.shape[axis + count:]))


def _masked(x: Any, items: Items, advanced: list[int]) -> Any:
    """x[mask]: the elements where the mask is True, in row-major order, as one axis in place of the mask's."""
    if len(advanced) > 1:
        raise model_error("a mask cannot be mixed with other index tensors; write x[mask] first, then index what it gives")
    axis, mask = items[advanced[0]]
    rank = len(mask.shape)
    if not rank:
        raise model_error("a mask that is an index has rank 1 or more; write tg.where(condition, x, y) for one condition")
    x = _apart(x, items, advanced, "a mask")
    sizes = x.shape[axis:axis + rank]
    tracer = current_tracer.get()
    if tracer is None:
        raise model_error("x[mask] builds a graph, so it can only be written in a function that tg.trace is tracing")
    for own, other in zip(sizes, mask.shape):
        try:
            tracer.constrain(own, other)
        except RuleError:
            shown = ", ".join(map(str, mask.shape))
            raise model_error(f"a mask [{shown}] does not fit {x!r} from axis {axis} on: {other} != {own}") from None
    if isinstance(mask, np.ndarray):
        return apply("gather", _merged(x, axis, rank), np.flatnonzero(mask).astype(np.int64), axis=axis)
    # applied once for each mask, so that x[mask] and y[mask] have one size
    shape = _merged_size(mask.shape[:-1]), mask.shape[-1]
    rows = mask if rank == 2 else tracer.apply_once(get_op("reshape"), mask, shape=shape)
    positions = tracer.apply_once(get_op("unpack"), rows, name=tracer.fresh_dim("N"))
    return apply("gather", _merged(x, axis, rank), positions, axis=axis)


def _merged_size(shape: tuple[DimLike, ...]) -> DimLike:
    size: DimLike = 1
    for d in shape:
        size = size * d
    return size
