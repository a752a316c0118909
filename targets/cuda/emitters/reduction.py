"""Sums, means, extremes over any axes: floats along rows by warps and blocks, the rest a thread for each result."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Buffer, Expr, T, int64
from targets.codegen import reduction, sums
from targets.codegen.access import Index
from targets.codegen.anchor import epilogue
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import SCALAR, cast
from targets.cuda.kernels import rows as row_kernels
from targets.cuda.kernels.device import each, registers


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit one reduction and its epilogue."""
    found = reduction.find(builder)
    if found.along_rows:
        reduction.rows(builder, found, row_kernels.reduce)
        return
    access, finish, source = builder.access, epilogue(builder, found.node), found.node.inputs[0]
    shape = source.shape
    kept, reduced = [shape[a] for a in found.kept], [shape[a] for a in found.reduced]
    with each(builder.size(found.results)) as i:
        lead = access.split(i, kept)
        total, depth = registers("total", (1,), found.dtype), builder.size(found.depth)

        def clear(cell: Buffer) -> None:
            T.buffer_store(cell, reduction.start(found.kind, cell.dtype), [0])

        def add(k: Expr) -> None:
            positions: dict[int, Expr] = dict(zip(found.kept, (p for _, p in lead)))
            positions.update(zip(found.reduced, (p for _, p in access.split(k, reduced))))
            at: Index = access.index([positions[a] for a in range(len(shape))], shape)
            element = cast(access.load(source, at), found.dtype)
            T.buffer_store(total, SCALAR[reduction.COMBINE[found.kind]](total[0], element), [0])

        if found.kind in ("sum", "mean") and sums.in_blocks(depth, found.dtype):
            added = registers("added", (1,), sums.wide(found.dtype))
            clear(added)
            sums.each_block(depth, lambda: clear(total), add,
                            lambda: T.buffer_store(added, added[0] + cast(total[0], added.dtype), [0]))
            T.buffer_store(total, cast(added[0], found.dtype), [0])
        else:
            clear(total)
            with T.serial(int64(0), depth) as k:
                add(k)
        value = total[0] / cast(depth, found.dtype) if found.kind == "mean" else total[0]
        finish(tuple(lead), value)
