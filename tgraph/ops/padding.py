"""Padded batches: saying that padded rows do not matter, and laying rows out without them."""

from __future__ import annotations

import numpy as np

from ..ir.axis_maps import same_axes
from ..ir.dims import dim
from ..ir.dtypes import i64
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import require_bool, require_integer, require_rank, same
from ..ir.types import TensorType
from .index import check_indices


@op
def zero_padding(x: TensorType, mask: TensorType) -> TensorType:
    """Zero where the mask is False: x[i, j, ...] if mask[i, j] else 0.

    x [B, S, ...], mask bool [B, S]. Says that the padded rows of x do not matter.
    """
    require_bool(mask)
    if x.rank < mask.rank:
        raise RuleError(f"x must have the axes of the mask first, got {x} and {mask}")
    for axis, (a, b) in enumerate(zip(x.shape, mask.shape)):
        same(a, b, f"x must have the axes of the mask first (axis {axis})")
    return x


@zero_padding.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return [same_axes(result.rank), [a if a < operands[1].rank else None for a in range(result.rank)]]


@zero_padding.reference
def _(x, mask):  # type: ignore[no-untyped-def]
    return np.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x, np.zeros((), x.dtype))


@zero_padding.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return results[0].size


@zero_padding.decomposition
def _(b, x, mask):  # type: ignore[no-untyped-def]
    more = x.type.rank - mask.type.rank
    wide = b.unsqueeze(mask, axes=tuple(range(-more, 0))) if more else mask
    return b.where(wide, x, b.constant(0, x.dtype))


@op(opaque=True, makes_dim="name")
def unpack(mask: TensorType, *, name: str = "N") -> tuple[TensorType, TensorType]:
    """Where the True elements of a padded batch lie: their flat positions in order, and where each row's begin.

    mask bool [B, S] gives indices i64 [N] (numbers b*S + s) and offsets i64 [B+1] with offsets[b] .. offsets[b+1]-1 the
    positions in indices of row b; N, named by the node, is the count of True elements, known at run time only.
    """
    require_bool(mask)
    if mask.rank != 2:
        raise RuleError(f"mask must be [B, S], got {mask}")
    return TensorType(i64, (dim(name),)), TensorType(i64, (mask.shape[0] + 1,))


@unpack.reference
def _(mask, *, name):  # type: ignore[no-untyped-def]
    offsets = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    return np.flatnonzero(mask).astype(np.int64), offsets.astype(np.int64)


@op(opaque=True)
def number_rows(mask: TensorType) -> TensorType:
    """The True elements of a mask numbered 0, 1, 2, ... in row-major order, and -1 elsewhere.

    mask bool of any shape; the result is i64 of that shape: where a row lies among those that `unpack(mask)` lists.
    """
    require_bool(mask)
    return mask.with_dtype(i64)


@number_rows.reference
def _(mask):  # type: ignore[no-untyped-def]
    return np.where(mask, np.cumsum(mask, dtype=np.int64).reshape(mask.shape) - 1, -1)


@number_rows.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 3 * results[0].size


@number_rows.decomposition
def _(b, mask):  # type: ignore[no-untyped-def]
    flat = b.cast(b.reshape(mask, shape=(mask.type.size,)), dtype=i64)
    return b.where(mask, b.sub(b.reshape(b.cumsum(flat), shape=mask.shape), 1), -1)


@op
def pad_rows(x: TensorType, positions: TensorType) -> TensorType:
    """Rows put back into a padded batch: y[b, s] = x[positions[b, s]], zeros where the position is negative.

    x [N, ...], positions integers of any shape below N; a position outside raises InputError at run time. With
    positions = number_rows(mask) it undoes taking the rows that `unpack(mask)` lists.
    """
    require_integer(positions, "positions")
    if positions.dtype.kind == "uint":
        raise RuleError(f"positions must be able to be negative, got {positions}")
    require_rank(x, 1, "x")
    return x.with_shape((*positions.shape, *x.shape[1:]))


@pad_rows.axis_map
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    lead = operands[1].rank
    return [[None if a < lead else a - lead + 1 for a in range(result.rank)],
            [a if a < lead else None for a in range(result.rank)]]


@pad_rows.reference
def _(x, positions):  # type: ignore[no-untyped-def]
    check_indices(np.maximum(positions, -1), -1, x.shape[0] - 1, "pad_rows", f"x has {x.shape[0]} rows")
    y = np.zeros((*positions.shape, *x.shape[1:]), x.dtype)
    y[positions >= 0] = x[positions[positions >= 0]]
    return y


@pad_rows.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return results[0].size


@pad_rows.decomposition
def _(b, x, positions):  # type: ignore[no-untyped-def]
    # one more row, of zeros, before the others: there -1 leads, and what is outside stays outside
    zeros = b.full(shape=(1, *x.shape[1:]), value=False if x.dtype.is_bool else 0, dtype=x.dtype)
    return b.gather(b.concat(zeros, x, axis=0), b.add(b.maximum(positions, -1), 1), axis=0)
