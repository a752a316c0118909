"""Functions that change a shape, the order of axes, or repeat elements: all of them trace into views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..current_tracer import apply
from ..ir.dims import Dim, DimLike
from ..ir.errors import RuleError
from ..ir.rules import axes_from_end, axis_index, same
from ..ops.shape import product
from ..tensor import Tensor
from .calls import as_tensor, function, is_traced, spread


@function(method=True, aliases=("view",))
def reshape(x: Any, *sizes: Any, shape: Any = None) -> Tensor:
    """The shape is given as sizes or as a tuple: reshape(x, 2, -1), reshape(x, (2, -1)). `view` is the same."""
    if sizes and shape is not None:
        raise RuleError("the shape is given twice")
    return apply("reshape", x, shape=spread(sizes) if shape is None else shape)


@function(method=True)
def transpose(x: Any, *order: Any, perm: Any = None, axis1: int | None = None, axis2: int | None = None) -> Tensor:
    """Two axes of a tensor of another rank than 2 are swapped, as in PyTorch: transpose(x, 1, 2). As many axes as the tensor has
    are an order, as in NumPy: transpose(x, 0, 2, 1). transpose(x, 0, 1) of a matrix keeps it in NumPy and turns it in PyTorch,
    and is refused: write swapaxes or permute.
    """
    if axis1 is not None or axis2 is not None:
        if axis1 is None or axis2 is None or order or perm is not None:
            raise RuleError("takes two axes, transpose(x, 1, 2), or an order of all, transpose(x, 0, 2, 1)")
        return _swapped(as_tensor(x), axis1, axis2)
    if perm is not None and order:
        raise RuleError("perm is given twice")
    given = spread(order) if order else perm
    if len(order) == 2 and is_traced(x := as_tensor(x)):
        if x.rank == 2 and sorted(axis_index(a, 2) for a in order) == [0, 1] and axis_index(order[0], 2) == 0:
            raise RuleError("transpose(0, 1) of a matrix turns it in PyTorch and keeps it in NumPy; write swapaxes(0, 1) or "
                            "permute(0, 1)")
        if x.rank != 2:
            return _swapped(x, *order)
    return apply("transpose", x, perm=given)


@function(method=True)
def permute(x: Any, *perm: Any) -> Tensor:
    """Axes in another order: axis i of the result is axis perm[i] of x."""
    return apply("transpose", x, perm=spread(perm))


@function(method=True)
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes swapped."""
    return _swapped(as_tensor(x), axis1, axis2)


def _swapped(x: Any, axis1: int, axis2: int) -> Tensor:
    order = list(range(x.rank))
    a, b = axis_index(axis1, x.rank), axis_index(axis2, x.rank)
    order[a], order[b] = order[b], order[a]
    return apply("transpose", x, perm=tuple(order))


@function(method=True, aliases=("movedim",))
def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Axes moved to other places; the rest keep their order."""
    x = as_tensor(x)
    sources, places = ([axis_index(a, x.rank) for a in (given if isinstance(given, (tuple, list)) else (given,))]
                       for given in (source, destination))
    if len(set(sources)) != len(sources) or len(set(places)) != len(places) or len(sources) != len(places):
        raise RuleError(f"as many different axes move as there are places, got {source} and {destination}")
    order = [a for a in range(x.rank) if a not in sources]
    for place, axis in sorted(zip(places, sources)):
        order.insert(place, axis)
    return apply("transpose", x, perm=tuple(order))


@function(method=True)
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Without axes, all axes of size 1. (A symbolic size is not taken for 1.)"""
    if axis is None:
        x = as_tensor(x)
        axis = tuple(i for i, size in enumerate(x.shape) if size == 1)
        return apply("squeeze", x, axes=axis) if axis else x
    return apply("squeeze", x, axes=axis)


@function(method=True, aliases=("expand_dims",))
def unsqueeze(x: Any, axis: Any) -> Tensor:
    """NumPy's expand_dims."""
    return apply("unsqueeze", x, axes=axis)


@function(method=True)
def flatten(x: Any, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from start to end (which is one of them) as one."""
    x = as_tensor(x)
    if not x.rank:
        return apply("reshape", x, shape=(1,))
    first, last = axis_index(start_axis, x.rank), axis_index(end_axis, x.rank)
    if last < first:
        raise RuleError(f"axis {start_axis} does not come before axis {end_axis}")
    return apply("reshape", x, shape=(*x.shape[:first], product(x.shape[first:last + 1]), *x.shape[last + 1:]))


@function(method=True)
def ravel(x: Any) -> Tensor:
    """All axes as one."""
    x = as_tensor(x)
    return apply("reshape", x, shape=(x.type.size,))


@function(method=True)
def unflatten(x: Any, axis: int, shape: Any) -> Tensor:
    """One axis as several, of which one size may be -1: unflatten(x, -1, (heads, -1))."""
    x = as_tensor(x)
    at = axis_index(axis, x.rank)
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if sizes.count(-1) == 1:
        known = product(tuple(s for s in sizes if s != -1))
        if known == 0:
            raise RuleError(f"-1 has no value in {list(sizes)}")
        left = x.shape[at] // known
        sizes = tuple(left if s == -1 else s for s in sizes)
    if -1 not in sizes:
        same(x.shape[at], product(sizes), f"the sizes [{', '.join(map(str, sizes))}] must multiply to axis {axis} of {x.type}")
    return apply("reshape", x, shape=(*x.shape[:at], *sizes, *x.shape[at + 1:]))


@function(method=True)
def expand(x: Any, *sizes: Any, shape: Any = None) -> Tensor:
    """The shape is given as sizes or as a tuple; -1 keeps a size, as in PyTorch: x.expand(batch, -1, -1)."""
    if sizes and shape is not None:
        raise RuleError("the shape is given twice")
    wanted = spread(sizes) if shape is None else shape
    if not is_traced(x) or not isinstance(wanted, (tuple, list)) or -1 not in wanted:
        return apply("expand", x, shape=wanted)
    added = len(wanted) - x.rank
    if added < 0 or -1 in wanted[:added]:
        raise RuleError(f"-1 keeps the size of an axis, and {x.type} has none there: {list(wanted)}")
    return apply("expand", x, shape=tuple(x.shape[i - added] if s == -1 else s for i, s in enumerate(wanted)))


@function(method=True)
def broadcast_to(x: Any, *shape: Any) -> Tensor:
    """NumPy's name of `expand`."""
    return apply("expand", as_tensor(x), shape=spread(shape))


@function(method=True)
def tile(x: Any, *repeats: Any) -> Tensor:
    """The whole tensor so many times along each axis: tile(x, (2, 1)). Axes that are missing on either side count as 1."""
    x, times = as_tensor(x), spread(repeats)
    for count in times:
        if isinstance(count, bool) or not isinstance(count, (int, Dim)) or (isinstance(count, int) and count < 0):
            raise RuleError(f"is repeated so many times along each axis, got {count!r}")
    rank = max(len(times), x.rank)
    times = (*(1,) * (rank - len(times)), *times)
    shape = (*(1,) * (rank - x.rank), *x.shape)
    if all(t == 1 for t in times):
        return apply("reshape", x, shape=shape)
    narrow = tuple(size for t, s in zip(times, shape) for size in ((s,) if t == 1 else (1, s)))
    wide = tuple(size for t, s in zip(times, shape) for size in ((s,) if t == 1 else (t, s)))
    made = apply("expand", apply("reshape", x, shape=narrow), shape=wide)
    return apply("reshape", made, shape=tuple(t * s for t, s in zip(times, shape)))


@function(method=True)
def repeat(x: Any, *repeats: Any, axis: int | None = None) -> Tensor:
    """PyTorch's repeat: the whole tensor so many times along each axis, `tile`. With axis= it is NumPy's, `repeat_interleave`.

    One number alone means different things in the two, and is refused.
    """
    if axis is not None:
        return repeat_interleave(x, *repeats, axis=axis)
    times, x = spread(repeats), as_tensor(x)
    if len(repeats) == 1 and not isinstance(repeats[0], (tuple, list)):
        raise RuleError(f"repeat({times[0]}) repeats the whole tensor in PyTorch and each element in NumPy; write "
                        f"tile({times[0]}) or repeat_interleave({times[0]})")
    if len(times) < x.rank:
        raise RuleError(f"takes one number an axis, {x.rank}, got {len(times)}")
    return tile(x, *times)


@function(method=True)
def repeat_interleave(x: Any, repeats: DimLike, axis: int | None = None) -> Tensor:
    """Each element along an axis so many times in a row, as NumPy's repeat. Without an axis, of the flattened tensor."""
    x = as_tensor(x)
    if isinstance(repeats, bool) or not isinstance(repeats, (int, Dim)):
        raise RuleError("repeats is one number (a tensor of them would make the size of the result depend on data), "
                        f"got {type(repeats).__name__}")
    if axis is None:
        x, axis = apply("reshape", x, shape=(x.type.size,)), 0
    at = axis_index(axis, x.rank)
    before, size, after = x.shape[:at], x.shape[at], x.shape[at + 1:]
    made = apply("expand", apply("unsqueeze", x, axes=(at + 1,)), shape=(*before, size, repeats, *after))
    return apply("reshape", made, shape=(*before, size * repeats, *after))


@function(method=True)
def flip(x: Any, *axes: Any, axis: Any = None) -> Tensor:
    """Elements along axes in reverse order; without axes, along all."""
    x = as_tensor(x)
    given = axes_from_end(spread(axes) if axes else axis, x.rank)
    none = (None,) * len(given)
    return apply("slice", x, starts=none, stops=none, axes=given, steps=(-1,) * len(given)) if given else x


@function(method=True)
def roll(x: Any, shifts: Any, axis: Any = None) -> Tensor:
    """Elements moved along axes, those that leave at the end coming in at the start; without an axis, of the flattened tensor."""
    x = as_tensor(x)
    if axis is None:
        if isinstance(shifts, (tuple, list)):
            raise RuleError("several shifts need as many axes")
        return apply("reshape", roll(apply("reshape", x, shape=(x.type.size,)), shifts, 0), shape=x.shape)
    moves = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if len(moves) != len(axes):
        raise RuleError(f"{len(moves)} shifts and {len(axes)} axes")
    for move, a in zip(moves, axes):
        if isinstance(move, bool) or not isinstance(move, (int, Dim)):
            raise RuleError(f"a shift is an integer, got {move!r}")
        at = axis_index(a, x.rank)
        size = x.shape[at]
        if move == 0 or size in (0, 1):
            continue
        if isinstance(size, int) and isinstance(move, int):
            cut = -move % size
            if cut:
                parts = apply("split", x, sizes=(cut, size - cut), axis=at)
                x = apply("concat", parts[1], parts[0], axis=at)
        else:  # which element is the first shows at run time; mod has the sign of the size
            places = apply("range", start=-move, stop=size - move)
            x = apply("gather", x, apply("mod", places, apply("dim_size", size=size)), axis=at)
    return x
