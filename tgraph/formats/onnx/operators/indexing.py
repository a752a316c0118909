"""Reading and writing by index."""

from __future__ import annotations

from typing import Any

from ....ir.dims import DimLike
from ....ir.dtypes import i64
from ..grids import read
from ..known import Columns, Ramp
from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t


@importer("Gather")
def gather(node: OnnxNode, x: Any, indices: Any) -> Any:
    axis, places = node.attribute("axis", 0), Ramp.of(node.operands[1])
    found = None if places is None else read(x, axis % x.rank, [places])
    return t.gather(x, indices, axis=axis) if found is None else found


@importer("GatherElements")
def gather_elements(node: OnnxNode, x: Any, indices: Any) -> Any:
    """Along the axis by index; other axes of the indices may be shorter, and then the first of those are read."""
    axis = node.attribute("axis", 0) % x.rank
    return t.take_along_axis(_cut(x, indices.shape, axis), indices, axis=axis)


def _cut(x: Any, shape: Any, axis: int) -> Any:
    for i, size in enumerate(shape):
        if i != axis and x.shape[i] != size:
            x = t.slice(x, starts=(0,), stops=(size,), axes=(i,))
    return x


@importer("GatherND")
def gather_nd(node: OnnxNode, x: Any, indices: Any) -> Any:
    batch, depth = node.attribute("batch_dims", 0), indices.shape[-1]
    if not isinstance(depth, int):
        raise UnsupportedError("has indices whose last size is known only at run time")
    places = Columns.of(node.operands[1])
    found = None if places is None or batch else read(x, 0, places.parts)
    if found is not None:
        return found
    flat, place = _flat(x, indices, batch, depth)
    lead, rest = x.shape[:batch], x.shape[batch + depth:]
    inner = indices.shape[batch:-1]
    if not batch:
        return t.reshape(t.gather(flat, t.reshape(place, shape=(-1,)), axis=0), shape=(*inner, *rest))
    found = t.reshape(place, shape=(*lead, _product(inner)))
    rows, each = _product(lead), _product(x.shape[batch:batch + depth])
    offsets = t.range(stop=rows, dtype=i64)[:, None] * t.dim_size(size=each, dtype=i64)
    whole = t.reshape(flat, shape=(rows * each, *rest))
    index = t.reshape(found, shape=(rows, _product(inner))) + offsets
    return t.reshape(t.gather(whole, index, axis=0), shape=(*lead, *inner, *rest))


def _flat(x: Any, indices: Any, batch: int, depth: int) -> tuple[Any, Any]:
    """x with the indexed axes as one, and where in it each index points."""
    sizes = x.shape[batch:batch + depth]
    index = t.cast(indices, dtype=i64)
    place: Any = None
    for i, size in enumerate(sizes):
        each = index[..., i]
        extent = t.dim_size(size=size, dtype=i64)
        each = t.where(each < 0, each + extent, each)
        place = each if place is None else place * extent + each
    return t.reshape(x, shape=(*x.shape[:batch], _product(sizes), *x.shape[batch + depth:])), place


def _product(sizes: Any) -> DimLike:
    total: DimLike = 1
    for size in sizes:
        total = total * size
    return total


@importer("ScatterElements", "Scatter")
def scatter_elements(node: OnnxNode, x: Any, indices: Any, updates: Any) -> Any:
    return t.scatter(x, axis=node.attribute("axis", 0), indices=indices, updates=updates, reduction=_reduction(node))


def _reduction(node: OnnxNode) -> str:
    name = node.attribute("reduction", "none")
    if name not in ("none", "add", "mul", "max", "min"):
        raise UnsupportedError(f"combines by {name!r}")
    return str(name)


@importer("ScatterND", since=11)
def scatter_nd(node: OnnxNode, x: Any, indices: Any, updates: Any) -> Any:
    """As rows of a matrix, one a place of the indexed axes."""
    depth = indices.shape[-1]
    if not isinstance(depth, int):
        raise UnsupportedError("has indices whose last size is known only at run time")
    flat, place = _flat(x, indices, 0, depth)
    rest = x.shape[depth:]
    width = _product(rest)
    rows = t.reshape(flat, shape=(_product(x.shape[:depth]), width))
    count = _product(indices.shape[:-1])
    at = t.broadcast_to(t.reshape(place, shape=(count, 1)), (count, width))
    made = t.scatter(rows, axis=0, indices=at, updates=t.reshape(updates, shape=(count, width)), reduction=_reduction(node))
    return t.reshape(made, shape=x.shape)


@importer("TensorScatter", since=24)
def tensor_scatter(node: OnnxNode, cache: Any, update: Any, first: Any = None) -> Any:
    """Rows of a cache written from a place of each sequence on."""
    axis = node.attribute("axis", -2) % cache.rank
    places = t.range(stop=update.shape[axis], dtype=i64)[None, :]
    if first is not None:
        places = places + t.cast(first, dtype=i64)[:, None]
    if node.attribute("mode", "linear") == "circular":
        places = t.mod(places, t.dim_size(size=cache.shape[axis], dtype=i64))
    shape = (places.shape[0], *[1] * (axis - 1), places.shape[1], *[1] * (cache.rank - axis - 1))
    index = t.broadcast_to(t.reshape(places, shape=shape), update.shape)
    return t.scatter(cache, axis=axis, indices=index, updates=update)


@importer("Compress")
def compress(node: OnnxNode, x: Any, condition: Any) -> Any:
    axis = node.attribute("axis", None)
    if axis is None:
        x, axis = t.reshape(x, shape=(-1,)), 0
    size = condition.shape[0]
    if size != x.shape[axis]:
        x = t.slice(x, starts=(0,), stops=(size,), axes=(axis,))
    rows, _ = t.unpack(t.reshape(condition, shape=(1, size)), name=_fresh(node))
    return t.gather(x, rows, axis=axis)


@importer("NonZero")
def non_zero(node: OnnxNode, x: Any) -> Any:
    """The places of elements that are not 0, in order: as many as there are at run time."""
    mask = x if x.dtype.is_bool else t.not_equal(x, 0)
    rank = max(x.rank, 1)
    flat, _ = t.unpack(t.reshape(mask, shape=(1, _product(x.shape))), name=_fresh(node))
    if rank == 1:
        return t.reshape(flat, shape=(1, flat.shape[0]))
    parts, left = [], flat
    for size in reversed(x.shape):
        extent = t.dim_size(size=size, dtype=i64)
        parts.append(t.mod(left, extent))
        left = t.floor_div(left, extent)
    return t.stack(parts[::-1], axis=0)


def _fresh(node: OnnxNode) -> str:
    return str(node.scope.importer.tracer.fresh_dim("N"))
