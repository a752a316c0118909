"""Replacing a part of a tensor, such as the new rows of a cache."""

from __future__ import annotations

from typing import Any

from ..ir.axis_maps import same_axes
from ..ir.dtypes import i64
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import at_least, axis_index, require_integer, same, same_dtype
from ..ir.traits import Update
from ..ir.types import TensorType
from .index import check_indices

UPDATE = Update(x=0, value=1, start=2, axis="axis", copying="update_slice", in_place="update_in_place")


@op(update=UPDATE, batched=True, magnitude="carried", axis_attributes={"axis": "operand axes"})
def update_slice(x: TensorType, value: TensorType, start: TensorType, *, axis: int) -> TensorType:
    """x with a part replaced: y[..., start + i, ...] = value[..., i, ...] along an axis, elsewhere x.

    value: of the type of x, but shorter along the axis (n of its size C); start: one integer, 0 .. C - n; outside raises
    InputError at run time. Of a state that nothing else reads, targets write the part alone, in place. ONNX TensorScatter.
    """
    at = axis_index(axis, x.rank)
    same_dtype(x, value)
    require_integer(start, "start")
    if start.rank:
        raise RuleError(f"start is one integer (rank 0), got {start}")
    if value.rank != x.rank:
        raise RuleError(f"value must have the rank of x, {x}, got {value}")
    for a, (have, want) in enumerate(zip(value.shape, x.shape)):
        if a != at:
            same(want, have, f"value {value} must be as {x} but along axis {at} (axis {a})")
    at_least(x.shape[at], value.shape[at], f"value {value} must fit into {x} along axis {at}")
    return x


@op(update=UPDATE, overwrites=0, batched=True, magnitude="carried", axis_attributes={"axis": "operand axes"})
def update_in_place(x: TensorType, value: TensorType, start: TensorType, *, axis: int) -> TensorType:
    """`update_slice` whose result takes the memory of x, which nothing else reads. Targets make it of updates of states."""
    checked: TensorType = update_slice.infer(x, value, start, axis=axis)
    return checked


def _axes(operands, result, attrs):  # type: ignore[no-untyped-def]
    axis = attrs["axis"]
    return [same_axes(result.rank, axis), same_axes(result.rank, axis), ()]


def _axis(types: Any, attrs: Any) -> dict[str, int]:
    return {"axis": axis_index(attrs["axis"], types[0].rank)}


def _updated(x, value, start, *, axis):  # type: ignore[no-untyped-def]
    room = x.shape[axis] - value.shape[axis]
    check_indices(start, 0, room, "update_slice",
                  f"where {value.shape[axis]} elements fit into the {x.shape[axis]} of axis {axis}")
    y = x.copy()
    y[(slice(None),) * axis + (slice(int(start), int(start) + value.shape[axis]),)] = value
    return y


def _decomposed(b, x, value, start, *, axis):  # type: ignore[no-untyped-def]
    """A lookup in x and value, one after the other. The position is read from a table of those that fit, and so is checked."""
    size, count = x.shape[axis], value.shape[axis]
    fitting = b.range(stop=size - count + 1, dtype=i64)
    at = b.embedding(b.cast(start, dtype=i64), fitting)
    place = b.range(stop=size, dtype=i64)
    inside = b.logical_and(b.greater_or_equal(place, at), b.less(place, b.add(at, b.dim_size(size=count, dtype=i64))))
    index = b.where(inside, b.add(b.sub(place, at), b.dim_size(size=size, dtype=i64)), place)
    return b.gather(b.concat(x, value, axis=axis), index, axis=axis)


def _cost(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 0


for _op in (update_slice, update_in_place):
    _op.axis_map(_axes)
    _op.canonicalize(_axis)
    _op.reference(_updated)
    _op.decomposition(_decomposed)
    _op.cost(_cost)
