"""Sums, means, extremes over any axes: along rows with vector accumulators, or down columns, a vector of them at a time."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen import reduction, sums
from targets.codegen.access import Index
from targets.codegen.anchor import epilogue
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import SCALAR, cast
from targets.cpu.emitters.pointwise import parallel_loop
from targets.cpu.kernels import rows as row_kernels
from tgraph.ops.shape import product

LANES = 16


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit one reduction and its epilogue."""
    found = reduction.find(builder)
    if found.along_rows:
        reduction.rows(builder, found, row_kernels.reduce)
    else:
        _down_columns(builder, found)


def _down_columns(builder: KernelBuilder, found: reduction.Reduction) -> None:
    finish, access, kept, dtype, kind = epilogue(builder, found.node), builder.access, found.kept, found.dtype, found.kind
    x, reduced = found.node.inputs[0], found.reduced
    shape = x.shape
    column_axis = kept[-1] if kept and kept[-1] == len(shape) - 1 else None
    row_axes = kept[:-1] if column_axis is not None else kept
    rows, columns = product(tuple(shape[a] for a in row_axes)), 1 if column_axis is None else shape[column_axis]
    depth = found.depth

    def at(row: Expr, column: Expr, k: Expr) -> Index:
        positions: dict[int, Expr] = {}
        positions.update(zip(row_axes, (p for _, p in access.split(row, [shape[a] for a in row_axes]))))
        positions.update(zip(reduced, (p for _, p in access.split(k, [shape[a] for a in reduced]))))
        if column_axis is not None:
            positions[column_axis] = column
        return access.index([positions[a] for a in range(len(shape))], shape)

    blocks = tirx.floordiv(builder.size(columns) + int64(LANES - 1), int64(LANES))

    def task(t: Expr) -> None:
        row = T.bind(tirx.floordiv(t, blocks))
        start = T.bind(tirx.floormod(t, blocks) * int64(LANES))
        total = T.alloc_buffer((LANES,), dtype, scope="global")
        blocks_apart = kind in ("sum", "mean") and sums.in_blocks(builder.size(depth), dtype)
        added = T.alloc_buffer((LANES,), sums.wide(dtype), scope="global") if blocks_apart else total

        def lanes_of(start: Expr, lanes: int) -> None:
            def clear(buffer: Buffer) -> None:
                with T.vectorized(int64(0), int64(lanes)) as v:
                    T.buffer_store(buffer, reduction.start(kind, buffer.dtype), [v])

            def add(k: Expr) -> None:
                with T.vectorized(int64(0), int64(lanes)) as v:
                    element = cast(access.load(x, at(row, start + v, k)), dtype)
                    T.buffer_store(total, SCALAR[reduction.COMBINE[kind]](total[v], element), [v])

            def flush() -> None:
                with T.vectorized(int64(0), int64(lanes)) as v:
                    T.buffer_store(added, added[v] + cast(total[v], added.dtype), [v])

            clear(added)
            if blocks_apart:
                sums.each_block(builder.size(depth), lambda: clear(total), add, flush)
            else:
                with T.serial(int64(0), builder.size(depth)) as k:
                    add(k)
            with T.vectorized(int64(0), int64(lanes)) as v:
                value = cast(added[v], dtype)
                value = value / cast(builder.size(depth), dtype) if kind == "mean" else value
                finish(((rows, row), (columns, start + v)), value)

        if columns == 1:
            lanes_of(int64(0), 1)
            return
        left = builder.size(columns) - start
        with T.If(left >= int64(LANES)):
            with T.Then():
                lanes_of(start, LANES)
            with T.Else(), T.serial(int64(0), left) as j:
                lanes_of(start + j, 1)

    parallel_loop(builder.size(rows) * blocks, builder.size(x.type.size), task)
