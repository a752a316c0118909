"""Weights laid out for a register-tiled matrix product: panels of a fixed number of columns of W^T."""

from __future__ import annotations

import numpy as np

from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.types import TensorType


@op
def pack_panels(weight: TensorType, *, width: int) -> TensorType:
    """Cut a weight [out, in] into panels [ceil(out / width), in, width]: p[i, k, j] = weight[i width + j, k].

    The last panel is padded with zeros. A product reads one panel from start to end while its accumulators stay in
    registers.
    """
    if weight.rank != 2:
        raise RuleError(f"weight must be [out, in], got {weight}")
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise RuleError(f"width must be a positive integer, got {width!r}")
    return weight.with_shape(((weight.shape[0] + width - 1) // width, weight.shape[1], width))


@pack_panels.reference
def _(weight, *, width):  # type: ignore[no-untyped-def]
    rows, depth = weight.shape
    padded = np.pad(weight, ((0, -rows % width), (0, 0))) if rows % width else weight
    return padded.reshape(-1, width, depth).transpose(0, 2, 1)  # a view: who keeps the panels makes the only copy


@op
def unpack_panels(panels: TensorType, *, rows: int) -> TensorType:
    """The weight [rows, in] that `pack_panels` cut into panels [ceil(rows / width), in, width]."""
    if panels.rank != 3:
        raise RuleError(f"panels must be [count, in, width], got {panels}")
    count, depth, width = panels.shape
    if not (isinstance(count, int) and isinstance(width, int) and isinstance(rows, int)) or -(-rows // width) != count:
        raise RuleError(f"{rows} rows do not fill the panels {panels}")
    return panels.with_shape((rows, depth))


@unpack_panels.reference
def _(panels, *, rows):  # type: ignore[no-untyped-def]
    count, depth, width = panels.shape
    return panels.transpose(0, 2, 1).reshape(count * width, depth)[:rows]


@pack_panels.decomposition
def _(b, weight, *, width):  # type: ignore[no-untyped-def]
    rows, depth = weight.shape
    count = (rows + width - 1) // width
    padded = b.pad(weight, before=(0, 0), after=(count * width - rows, 0), value=0.0)
    return b.transpose(b.reshape(padded, shape=(count, width, depth)), perm=(0, 2, 1))


@unpack_panels.decomposition
def _(b, panels, *, rows):  # type: ignore[no-untyped-def]
    count, depth, width = panels.shape
    flat = b.reshape(b.transpose(panels, perm=(0, 2, 1)), shape=(count * width, depth))
    return b.slice(flat, starts=(0,), stops=(rows,), axes=(0,))
