"""Weights laid out for a register-tiled matrix product: panels of a fixed number of columns of W^T."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from ..ir.attributes import AtLeast
from ..ir.dims import DimLike
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.types import TensorType

Positive = Annotated[int, AtLeast(1)]
Size = Annotated[int, AtLeast(0)]


@op(opaque=True)
def pack_panels(weight: TensorType, *, width: Positive, group: Positive = 1) -> TensorType:
    """Cut a weight [out, in] into panels [ceil(out / width), in, width]: p[i, k, j] = weight[i width + j, k].

    With a group above 1, panels [ceil(out / width), ceil(in / group), width, group] for instructions that multiply groups
    of k: p[i, k, j, g] = weight[i width + j, k group + g]. What is past the weight's end is zero. A product reads one
    panel from start to end while its accumulators stay in registers.
    """
    if weight.rank != 2:
        raise RuleError(f"weight must be [out, in], got {weight}")
    count, depth = _ceil_divide(weight.shape[0], width), _ceil_divide(weight.shape[1], group)
    return weight.with_shape((count, depth, width) if group == 1 else (count, depth, width, group))


def _ceil_divide(size: DimLike, parts: int) -> DimLike:
    return (size + parts - 1) // parts


@pack_panels.reference
def _(weight, *, width, group):  # type: ignore[no-untyped-def]
    rows, depth = weight.shape
    count, groups = -(-rows // width), -(-depth // group)
    padded = np.pad(weight, ((0, -rows % width), (0, -depth % group))) if rows % width or depth % group else weight
    panels = padded.reshape(count, width, groups, group).transpose(0, 2, 1, 3)
    return panels[..., 0] if group == 1 else panels  # a view: who keeps the panels makes the only copy


@op(view="layout")
def unpack_panels(panels: TensorType, *, rows: Size, depth: Size | None = None) -> TensorType:
    """The weight [rows, depth] that `pack_panels` cut into panels; depth is what the panels have unless given, at most that."""
    if panels.rank not in (3, 4):
        raise RuleError(f"panels must be [count, in, width] or [count, groups, width, group], got {panels}")
    count, groups, width, group = (*panels.shape, 1)[:4]
    if not (isinstance(count, int) and isinstance(width, int) and isinstance(rows, int)) or -(-rows // width) != count:
        raise RuleError(f"{rows} rows do not fill the panels {panels}")
    if depth is None:
        return panels.with_shape((rows, groups * group))
    if not (isinstance(groups, int) and isinstance(group, int)) or depth > groups * group:
        raise RuleError(f"a depth of {depth} is more than the panels {panels} have")
    return panels.with_shape((rows, depth))


@unpack_panels.reference
def _(panels, *, rows, depth):  # type: ignore[no-untyped-def]
    count, groups, width, group = (*panels.shape, 1)[:4]
    whole = panels.reshape(count, groups, width, group).transpose(0, 2, 1, 3).reshape(count * width, groups * group)
    return whole[:rows, :depth]


@pack_panels.decomposition
def _(b, weight, *, width, group):  # type: ignore[no-untyped-def]
    rows, depth = weight.shape
    count, groups = _ceil_divide(rows, width), _ceil_divide(depth, group)
    padded = b.pad(weight, before=(0, 0), after=(count * width - rows, groups * group - depth), value=0.0)
    panels = b.transpose(b.reshape(padded, shape=(count, width, groups, group)), perm=(0, 2, 1, 3))
    return b.reshape(panels, shape=(count, groups, width)) if group == 1 else panels


@unpack_panels.decomposition
def _(b, panels, *, rows, depth):  # type: ignore[no-untyped-def]
    count, groups, width, group = (*panels.type.shape, 1)[:4]
    apart = b.reshape(panels, shape=(count, groups, width, group))
    flat = b.reshape(b.transpose(apart, perm=(0, 2, 1, 3)), shape=(count * width, groups * group))
    return b.slice(flat, starts=(0, 0), stops=(rows, groups * group if depth is None else depth), axes=(0, 1))


@op(opaque=True)
def pack_gates(weight: TensorType, *, gates: Positive, width: Positive) -> TensorType:
    """Cut recurrent weights into panels that hold all gates of a run of units.

    weight [D, gates H, K] becomes p [D, ceil(H / width), K, gates width]: p[d, i, k, g width + j] = weight[d, g H + i width + j,
    k]. What is past the last unit is zero. One panel has all that a step of a recurrence multiplies for its units, so that their
    gates meet in registers.
    """
    hidden = _units(weight, gates)
    return weight.with_shape((weight.shape[0], _ceil_divide(hidden, width), weight.shape[2], gates * width))


def _units(weight: TensorType, gates: int) -> int:
    rows = weight.shape[1] if weight.rank == 3 else None
    if not isinstance(rows, int) or rows % gates:
        raise RuleError(f"weight must be [directions, {gates} H, K], got {weight}")
    return rows // gates


@pack_gates.reference
def _(weight, *, gates, width):  # type: ignore[no-untyped-def]
    count, rows, depth = weight.shape
    hidden = rows // gates
    apart = np.pad(weight.reshape(count, gates, hidden, depth), ((0, 0), (0, 0), (0, -hidden % width), (0, 0)))
    panels = apart.reshape(count, gates, -1, width, depth).transpose(0, 2, 4, 1, 3)
    return panels.reshape(*panels.shape[:3], gates * width)


@pack_gates.decomposition
def _(b, weight, *, gates, width):  # type: ignore[no-untyped-def]
    count, rows, depth = weight.shape
    hidden = rows // gates
    panels = _ceil_divide(hidden, width)
    apart = b.pad(b.reshape(weight, shape=(count, gates, hidden, depth)), before=(0, 0, 0, 0),
                  after=(0, 0, panels * width - hidden, 0), value=0.0)
    moved = b.transpose(b.reshape(apart, shape=(count, gates, panels, width, depth)), perm=(0, 2, 4, 1, 3))
    return b.reshape(moved, shape=(count, panels, depth, gates * width))


@op(view="layout")
def unpack_gates(panels: TensorType, *, gates: Positive, hidden: Positive) -> TensorType:
    """The recurrent weights [D, gates hidden, K] that `pack_gates` cut into panels."""
    if panels.rank != 4:
        raise RuleError(f"panels must be [directions, count, K, gates width], got {panels}")
    directions, count, depth, columns = panels.shape
    if not (isinstance(count, int) and isinstance(columns, int)) or columns % gates or -(-hidden * gates // columns) != count:
        raise RuleError(f"{gates} gates of {hidden} units do not fill the panels {panels}")
    return panels.with_shape((directions, gates * hidden, depth))


@unpack_gates.reference
def _(panels, *, gates, hidden):  # type: ignore[no-untyped-def]
    count, runs, depth, columns = panels.shape
    apart = panels.reshape(count, runs, depth, gates, columns // gates).transpose(0, 3, 1, 4, 2)
    whole = apart.reshape(count, gates, runs * (columns // gates), depth)[:, :, :hidden]
    return whole.reshape(count, gates * hidden, depth)


@unpack_gates.decomposition
def _(b, panels, *, gates, hidden):  # type: ignore[no-untyped-def]
    count, runs, depth, columns = panels.shape
    width = columns // gates
    apart = b.transpose(b.reshape(panels, shape=(count, runs, depth, gates, width)), perm=(0, 3, 1, 4, 2))
    whole = b.slice(b.reshape(apart, shape=(count, gates, runs * width, depth)), starts=(0,), stops=(hidden,), axes=(2,))
    return b.reshape(whole, shape=(count, gates * hidden, depth))
