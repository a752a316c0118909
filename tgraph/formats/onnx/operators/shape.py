"""Shapes: what is known of them while importing, and what changes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.dims import Dim, DimLike
from ....ir.dtypes import i64
from ..known import Known
from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t


def known_sizes(sizes: Any, shape: tuple[int, ...] | None = None) -> Known:
    array = np.empty(len(sizes), object)
    for i, size in enumerate(sizes):
        array[i] = size
    return Known.of(array.reshape(shape if shape is not None else (len(sizes),)), np.int64)


@importer("Shape")
def shape(node: OnnxNode, x: Any) -> Any:
    start, end = node.attribute("start", 0), node.attribute("end", None)
    return known_sizes(x.shape[slice(start, end)])


@importer("Size")
def size(node: OnnxNode, x: Any) -> Any:
    total: DimLike = 1
    for each in x.shape:
        total = total * each
    return known_sizes([total], ())


@importer("Identity")
def identity(node: OnnxNode, x: Any) -> Any:
    return x


@importer("Reshape", since=1)
def reshape_by_attribute(node: OnnxNode, x: Any) -> Any:
    return t.reshape(x, shape=_resolved(x, node.attribute("shape"), 0))


@importer("Reshape", since=5)
def reshape(node: OnnxNode, x: Any, wanted: Any) -> Any:
    return t.reshape(x, shape=_resolved(x, node.sizes(1, "the shape"), node.attribute("allowzero", 0)))


def _resolved(x: Any, wanted: Any, allow_zero: int) -> tuple[DimLike, ...]:
    """0 keeps the size of that axis."""
    kept = [isinstance(n, int) and n == 0 and not allow_zero and i < x.rank for i, n in enumerate(wanted)]
    return tuple(x.shape[i] if kept[i] else n for i, n in enumerate(wanted))


@importer("Flatten")
def flatten(node: OnnxNode, x: Any) -> Any:
    axis = node.attribute("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    first: DimLike = 1
    for each in x.shape[:axis]:
        first = first * each
    rest: DimLike = 1
    for each in x.shape[axis:]:
        rest = rest * each
    return t.reshape(x, shape=(first, rest))


@importer("Transpose")
def transpose(node: OnnxNode, x: Any) -> Any:
    perm = node.attribute("perm", None)
    return t.permute(x, *(perm if perm is not None else range(x.rank)[::-1])) if x.rank > 1 else x


@importer("Squeeze")
def squeeze(node: OnnxNode, x: Any, axes: Any = None) -> Any:
    found = node.axes(1)
    found = tuple(i for i, n in enumerate(x.shape) if n == 1) if found is None else found
    for axis in found:
        if isinstance(x.shape[axis], Dim):
            raise UnsupportedError(f"drops axis {axis} of {x.type}, whose size is known only at run time; give it the size 1: "
                                   f'dims={{"{x.shape[axis]}": 1}}')
    return t.squeeze(x, axis=found) if found else x


@importer("Unsqueeze")
def unsqueeze(node: OnnxNode, x: Any, axes: Any = None) -> Any:
    return t.unsqueeze(x, axis=node.axes(1) or ())


@importer("Expand")
def expand(node: OnnxNode, x: Any, wanted: Any) -> Any:
    sizes = node.sizes(1, "the shape")
    rank = max(len(sizes), x.rank)
    old, new = [1] * (rank - x.rank) + list(x.shape), [1] * (rank - len(sizes)) + list(sizes)
    shape = tuple(b if isinstance(a, int) and a == 1 else a for a, b in zip(old, new))
    if tuple(old) == shape:  # nothing to do but, perhaps, more axes
        return x if x.rank == rank else t.reshape(x, shape=shape)
    return t.broadcast_to(x, shape)


@importer("Concat")
def concat(node: OnnxNode, *xs: Any) -> Any:
    return t.concat(list(xs), axis=node.attribute("axis", 1))


@importer("Split")
def split(node: OnnxNode, x: Any, sizes: Any = None) -> Any:
    axis, count = node.attribute("axis", 0), node.results
    wanted = node.sizes(1, "the sizes") if node.given(1) else node.attribute("split", None)
    if wanted is None:
        wanted = _parts(x.shape[axis], node.attribute("num_outputs", count), even=node.version < 18)
    return t.split(x, sizes=tuple(wanted), axis=axis)


def _parts(whole: DimLike, parts: int, even: bool) -> list[DimLike]:
    """Equal parts, of which from opset 18 on the last may be smaller. Of a symbolic size, three and more must be equal: a call
    checks it."""
    if not isinstance(whole, int) and (even or parts != 2):
        return [whole // parts] * parts
    part = (whole + parts - 1) // parts
    if isinstance(whole, int) and isinstance(part, int):
        return [max(min(part, whole - i * part), 0) for i in range(parts)]
    return [part, whole - part]


@importer("Tile", since=6)
def tile(node: OnnxNode, x: Any, repeats: Any) -> Any:
    wanted = node.sizes(1, "the numbers of repeats")
    if all(isinstance(n, int) for n in wanted):
        return t.tile(x, tuple(wanted))
    shape: list[Any] = []
    for n, size in zip(wanted, x.shape):
        shape += [n, size]
    spread = t.broadcast_to(t.reshape(x, shape=tuple(s for size in x.shape for s in (1, size))), tuple(shape))
    return t.reshape(spread, shape=tuple(n * size for n, size in zip(wanted, x.shape)))


@importer("Pad", since=1)
def pad_by_attributes(node: OnnxNode, x: Any) -> Any:
    return _padded(node, x, node.attribute("paddings" if node.version < 2 else "pads"), node.attribute("value", 0.0), None)


@importer("Pad", since=11)
def pad(node: OnnxNode, x: Any, pads: Any, value: Any = None, axes: Any = None) -> Any:
    fill = node.array(2, "the value").reshape(-1)[0].item() if node.given(2) else 0
    return _padded(node, x, node.sizes(1, "the widths"), fill, node.axes(3))


def _padded(node: OnnxNode, x: Any, pads: Any, value: Any, axes: tuple[int, ...] | None) -> Any:
    axes = tuple(range(x.rank)) if axes is None else tuple(a % x.rank for a in axes)
    before, after = [0] * x.rank, [0] * x.rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    for axis in range(x.rank):  # a negative width cuts
        low, high = ((-n if isinstance(n, int) and n < 0 else 0) for n in (before[axis], after[axis]))
        if low or high:
            x = t.slice(x, starts=(low,), stops=(x.shape[axis] - high,), axes=(axis,))
            before[axis], after[axis] = max(before[axis], 0), max(after[axis], 0)
    mode = node.attribute("mode", "constant")
    if mode == "constant" and x.dtype.is_integer:
        value = int(value)
    how = {"fill_value": value} if mode == "constant" else {}
    return t.pad(x, before=tuple(before), after=tuple(after), mode=mode, **how) if any(
        isinstance(n, Dim) or n for n in (*before, *after)) else x


@importer("CenterCropPad", since=18)
def center_crop_pad(node: OnnxNode, x: Any, wanted: Any) -> Any:
    """Each axis cut, or filled with zeros, on both sides; what is odd goes at the end."""
    axes = node.attribute("axes", range(x.rank))
    for axis, size in zip(axes, node.sizes(1, "the shape")):
        axis, own = axis % x.rank, x.shape[axis]
        more = size - own
        if not isinstance(more, int):
            raise UnsupportedError(f"makes the size {own} of axis {axis} one of {size}, and which is larger is known only at run "
                                   "time")
        if more < 0:
            first = -more // 2
            x = t.slice(x, starts=(first,), stops=(own + more + first,), axes=(axis,))
        elif more > 0:
            before, after = ([0] * x.rank for _ in range(2))
            before[axis], after[axis] = more // 2, more - more // 2
            x = t.pad(x, before=tuple(before), after=tuple(after), fill_value=0)
    return x


@importer("Slice", since=1)
def slice_by_attributes(node: OnnxNode, x: Any) -> Any:
    starts, stops = node.attribute("starts"), node.attribute("ends")
    return _sliced(x, starts, stops, node.attribute("axes", list(range(len(starts)))), [1] * len(starts))


@importer("Slice", since=10)
def slice_(node: OnnxNode, x: Any, *_: Any) -> Any:
    starts, stops = node.sizes(1, "the starts"), node.sizes(2, "the ends")
    axes = node.axes(3) or tuple(range(len(starts)))
    steps = [int(n) for n in node.array(4, "the steps").reshape(-1)] if node.given(4) else [1] * len(starts)
    return _sliced(x, starts, stops, axes, steps)


def _sliced(x: Any, starts: Any, stops: Any, axes: Any, steps: Any) -> Any:
    index: list[Any] = [slice(None)] * x.rank
    for start, stop, axis, step in zip(starts, stops, axes, steps):
        size = x.shape[axis]
        far = 2**31 - 1
        if step > 0:
            first = None if isinstance(start, int) and (start == 0 or start <= -far) else start
            last = None if isinstance(stop, int) and stop >= far else stop
        else:
            first = None if isinstance(start, int) and start >= (size - 1 if isinstance(size, int) else far) else start
            last = None if isinstance(stop, int) and stop <= (-size - 1 if isinstance(size, int) else -far) else stop
        index[axis] = slice(first, last, None if step == 1 else step)
    return x[tuple(index)]


@importer("DepthToSpace")
def depth_to_space(node: OnnxNode, x: Any) -> Any:
    b, c, h, w = x.shape
    n = node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "DCR":
        apart = t.permute(t.reshape(x, shape=(b, n, n, c // (n * n), h, w)), 0, 3, 4, 1, 5, 2)
    else:
        apart = t.permute(t.reshape(x, shape=(b, c // (n * n), n, n, h, w)), 0, 1, 4, 2, 5, 3)
    return t.reshape(apart, shape=(b, c // (n * n), h * n, w * n))


@importer("SpaceToDepth")
def space_to_depth(node: OnnxNode, x: Any) -> Any:
    b, c, h, w = x.shape
    n = node.attribute("blocksize")
    apart = t.reshape(x, shape=(b, c, h // n, n, w // n, n))
    apart = t.permute(apart, *((0, 3, 5, 1, 2, 4) if node.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)))
    return t.reshape(apart, shape=(b, c * n * n, h // n, w // n))


@importer("Trilu", since=14)
def triangle(node: OnnxNode, x: Any, k: Any = None) -> Any:
    diagonal = int(node.array(1, "the diagonal").reshape(-1)[0]) if node.given(1) else 0
    return (t.triu if node.attribute("upper", 1) else t.tril)(x, diagonal)


@importer("ReverseSequence")
def reverse_sequence(node: OnnxNode, x: Any, lengths: Any) -> Any:
    """Row b of the batch backwards up to its length: element s is that of length - 1 - s."""
    time, batch = node.attribute("time_axis", 0), node.attribute("batch_axis", 1)
    rows = t.moveaxis(x, (batch, time), (0, 1)) if (batch, time) != (0, 1) else x
    places = t.range(stop=rows.shape[1], dtype=i64)[None, :]
    length = t.cast(lengths, dtype=i64)[:, None]
    index = t.where(places < length, length - 1 - places, places)
    index = t.reshape(index, shape=(*index.shape, *[1] * (rows.rank - 2)))
    found = t.take_along_axis(rows, t.broadcast_to(index, rows.shape), axis=1)
    return t.moveaxis(found, (0, 1), (batch, time)) if (batch, time) != (0, 1) else found
