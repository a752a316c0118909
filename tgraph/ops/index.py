"""Looking rows up by number."""

from __future__ import annotations

import numpy as np

from ..ir.axis_maps import same_axes
from ..ir.dims import DimLike
from ..ir.dtypes import DType, f32
from ..ir.errors import InputError, RuleError
from ..ir.registry import op
from ..ir.rules import axis_index, require_integer
from ..ir.traits import Lookup
from ..ir.types import TensorType


def check_indices(indices: np.ndarray, low: int, high: int, op: str, table: str) -> None:
    """Raise InputError that names the first index outside of low .. high."""
    bad = (indices < low) | (indices > high)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(f"{op}: index {indices[at]} at {list(at)} is outside of {low} .. {high}, {table}")


@op(lookup=Lookup(table=0, indices=1, axis="axis", from_end=True), precision="activation",
    axis_attributes={"axis": "operand axes"})
def gather(x: TensorType, indices: TensorType, *, axis: int = 0) -> TensorType:
    """Slices of x along an axis by number: y[..., i, ...] = x[..., indices[i], ...].

    indices: integers of any shape, which takes the place of the axis; -n .. n-1, negative ones count from the end;
    outside raises InputError at run time. ONNX Gather.
    """
    require_integer(indices, "indices")
    at = axis_index(axis, x.rank)
    return x.with_shape((*x.shape[:at], *indices.shape, *x.shape[at + 1:]))


@gather.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    axis, more = attrs["axis"], operands[1].rank
    span = range(axis, axis + more)
    return [[a if a < axis else None if a in span else a - more + 1 for a in range(result.rank)],
            [a - axis if a in span else None for a in range(result.rank)]]


@gather.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_index(attrs["axis"], types[0].rank)}


@gather.reference
def _(x, indices, *, axis):  # type: ignore[no-untyped-def]
    size = x.shape[axis]
    check_indices(indices, -size, size - 1, "gather", f"axis {axis} has size {size}")
    return np.take(x, indices, axis=axis) if x.size or not indices.size else np.zeros(
        (*x.shape[:axis], *indices.shape, *x.shape[axis + 1:]), x.dtype)


@op(lookup=Lookup(table=1, indices=0))
def embedding(indices: TensorType, table: TensorType) -> TensorType:
    """Rows of a table by number: y[..., :] = table[indices[...]].

    indices: integers 0 .. n-1 of any shape; table [n, ...]; an index outside raises InputError at run time.
    """
    require_integer(indices, "indices")
    if table.rank < 1:
        raise RuleError(f"table must have rank 1 or more, got {table}")
    return table.with_shape((*indices.shape, *table.shape[1:]))


@embedding.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    lead = operands[0].rank
    return [[a if a < lead else None for a in range(result.rank)],
            [None if a < lead else a - lead + 1 for a in range(result.rank)]]


@embedding.reference
def _(indices, table):  # type: ignore[no-untyped-def]
    check_indices(indices, 0, table.shape[0] - 1, "embedding", f"the table has {table.shape[0]} rows")
    return table[indices]


@op(batched=True)
def one_hot(indices: TensorType, *, depth: DimLike, dtype: DType = f32) -> TensorType:
    """A new last axis of size depth: 1 where its position is the index, else 0 (all 0 for an index outside)."""
    require_integer(indices, "indices")
    return TensorType(dtype, (*indices.shape, depth))


@one_hot.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [same_axes(result.rank, -1)]


@one_hot.reference
def _(indices, *, depth, dtype):  # type: ignore[no-untyped-def]
    return (indices[..., None] == np.arange(depth)).astype(dtype.numpy)
