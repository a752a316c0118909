"""The positions of the True elements of a mask, and their number, by a prefix sum of one block."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.anchor import find_anchor
from targets.codegen.device_extents import use_extents
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from targets.cuda.kernels.device import grid
from targets.cuda.kernels.prefix import Prefix

THREADS = 1024


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `unpack(mask)`: positions, offsets, and the number of positions, a device extent that this kernel computes."""
    node = find_anchor(builder, "unpack")
    mask, zero = node.inputs[0], int64(0)
    names = {value: name for name, value in builder.function.outputs}
    positions, offsets = (names.get(result) for result in node.results)
    batch, length, total = (builder.size(size) for size in (*mask.shape, mask.type.size))
    (extent,) = builder.device_extents

    def kept(i: Expr) -> Expr:
        return cast(builder.access.load(mask, ((mask.type.size, i),)), "int64")

    def write(output: str | None, result: int, at: Expr, value: Expr) -> None:
        if output is not None:
            builder.write(output, ((node.results[result].shape[0], at),), value)

    def visit(i: Expr, before: Expr, value: Expr) -> None:
        with T.If(tirx.EQ(tirx.truncmod(i, length), zero)), T.Then():
            write(offsets, 1, tirx.truncdiv(i, length), before)
        with T.If(value > zero), T.Then():
            write(positions, 0, before, i)

    with use_extents(()), grid(THREADS, int64(1)) as (_, _, _, thread):
        everything = Prefix(thread, THREADS, total, "int64").run(kept, visit)
        with T.If(tirx.EQ(thread, 0)), T.Then():
            T.buffer_store(extent.buffer, everything, [zero])
            write(offsets, 1, batch, everything)
            with T.If(tirx.EQ(length, zero)), T.Then(), T.serial(zero, batch) as row:  # rows of nothing have no first element
                write(offsets, 1, row, zero)
