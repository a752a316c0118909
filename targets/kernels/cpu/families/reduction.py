"""Sums, means, extremes over any axes: along rows with vector accumulators, or down columns, a vector of them at a time."""

from __future__ import annotations

from targets.kernels.access import Index
from targets.kernels.cpu import rows as row_kernels
from targets.kernels.cpu.families.anchor import accumulator_dtype, epilogue, find_anchor
from targets.kernels.cpu.families.pointwise import parallel_loop
from targets.kernels.frame import Frame
from targets.kernels.scalar import SCALAR, cast
from targets.target import Target
from targets.tvm_api import Expr, T, int64, tirx
from tgraph.ir.dtypes import DTYPES
from tgraph.ir.values import Node
from tgraph.ops.shape import product

LANES = 16
NAMES = ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod")
COMBINE = {"sum": "add", "mean": "add", "max": "maximum", "min": "minimum", "prod": "mul"}


def emit(frame: Frame, target: Target) -> None:
    """One reduction and its epilogue."""
    node = find_anchor(frame, *NAMES)
    x = node.inputs[0]
    rank = x.type.rank
    reduced = [a % rank for a in node.attrs["axes"]]
    kept = [a for a in range(rank) if a not in reduced]
    kind, dtype = node.op.name.removeprefix("reduce_"), accumulator_dtype(x)
    trailing = reduced == list(range(rank - len(reduced), rank))
    if trailing and rank and x.dtype.is_float:
        _along_rows(frame, node, len(kept), kind, dtype)
    else:
        _down_columns(frame, node, kept, reduced, kind, dtype)


def _along_rows(frame: Frame, node: Node, lead: int, kind: str, dtype: str) -> None:
    x, finish = node.inputs[0], epilogue(frame, node)
    rows, length = product(x.shape[:lead]), product(x.shape[lead:])

    def load(row: Expr, j: Expr) -> Expr:
        return cast(frame.access.load(x, ((rows, row), (length, j))), dtype)

    row_kernels.reduce(rows=frame.size(rows), length=frame.size(length), load=load, kind=kind, dtype=dtype,
                       store=lambda row, value: finish(((rows, row),), value))


def _down_columns(frame: Frame, node: Node, kept: list[int], reduced: list[int], kind: str, dtype: str) -> None:
    x, finish, access = node.inputs[0], epilogue(frame, node), frame.access
    shape = x.shape
    column_axis = kept[-1] if kept and kept[-1] == len(shape) - 1 else None
    row_axes = kept[:-1] if column_axis is not None else kept
    rows, columns = product(tuple(shape[a] for a in row_axes)), 1 if column_axis is None else shape[column_axis]
    depth = product(tuple(shape[a] for a in reduced))

    def at(row: Expr, column: Expr, k: Expr) -> Index:
        positions: dict[int, Expr] = {}
        positions.update(zip(row_axes, (p for _, p in access.split(row, [shape[a] for a in row_axes]))))
        positions.update(zip(reduced, (p for _, p in access.split(k, [shape[a] for a in reduced]))))
        if column_axis is not None:
            positions[column_axis] = column
        return access.index([positions[a] for a in range(len(shape))], shape)

    blocks = tirx.floordiv(frame.size(columns) + int64(LANES - 1), int64(LANES))

    def task(t: Expr) -> None:
        row = T.bind(tirx.floordiv(t, blocks))
        start = T.bind(tirx.floormod(t, blocks) * int64(LANES))
        total = T.alloc_buffer((LANES,), dtype, scope="global")

        def lanes_of(start: Expr, lanes: int) -> None:
            with T.vectorized(int64(0), int64(lanes)) as v:
                T.buffer_store(total, _start(kind, dtype), [v])
            with T.serial(int64(0), frame.size(depth)) as k, T.vectorized(int64(0), int64(lanes)) as v:
                element = cast(access.load(x, at(row, start + v, k)), dtype)
                T.buffer_store(total, SCALAR[COMBINE[kind]](total[v], element), [v])
            with T.vectorized(int64(0), int64(lanes)) as v:
                value = total[v] / cast(frame.size(depth), dtype) if kind == "mean" else total[v]
                finish(((rows, row), (columns, start + v)), value)

        if columns == 1:
            lanes_of(int64(0), 1)
            return
        left = frame.size(columns) - start
        with T.If(left >= int64(LANES)):
            with T.Then():
                lanes_of(start, LANES)
            with T.Else(), T.serial(int64(0), left) as j:
                lanes_of(start + j, 1)

    parallel_loop(frame.size(rows) * blocks, frame.size(x.type.size), task)


def _start(kind: str, dtype: str) -> Expr:
    """What the reduction of nothing gives."""
    if kind in ("sum", "mean", "prod"):
        return tirx.const(1 if kind == "prod" else 0, dtype)
    is_float = next(d for d in DTYPES.values() if d.numpy_name == dtype).is_float
    if is_float:
        return tirx.const(float("-inf") if kind == "max" else float("inf"), dtype)
    return tirx.min_value(dtype) if kind == "max" else tirx.max_value(dtype)
