"""Products of two tensors that are both known at run time only, over leading axes that broadcast."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Expr, contiguous, int64
from targets.codegen.anchor import accumulator_dtype, epilogue, find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.opaque import detached
from targets.codegen.scalar import cast
from targets.cpu.emitters.linear import tile_for
from targets.cpu.emitters.pointwise import parallel_loop
from targets.cpu.kernels.batched_matmul import Operands, batched_matmul, task_count
from tgraph.ir.dims import DimLike
from tgraph.ir.values import Value


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `matmul(x, y)` and its epilogue."""
    node = find_anchor(builder, "matmul")
    x, y = node.inputs
    shape = node.result.shape
    lead: DimLike = 1
    for size in shape[:-2]:
        lead = lead * size
    batches, m, n, k = builder.size(lead), builder.size(shape[-2]), builder.size(shape[-1]), builder.size(x.shape[-1])
    dtype = accumulator_dtype(x)
    finish, access = epilogue(builder, node), builder.access

    def element(value: Value, where: list[Expr], i: Expr, j: Expr) -> Expr:
        own = value.shape
        positions = [*where[len(shape) - len(own):], i, j]
        return cast(access.load(value, tuple((d, int64(0) if d == 1 else p) for d, p in zip(own, positions))), dtype)

    def batch(b: Expr) -> Operands:
        where = [position for _, position in access.split(b, shape[:-2])]

        def store(i: Expr, j: Expr, value: Expr) -> None:
            finish(tuple(zip(shape, (*where, i, j))), value)

        return Operands(lambda i, kk: element(x, where, i, kk), lambda kk, j: element(y, where, kk, j), store)

    zeros: list[Expr] = [int64(0)] * (len(shape) - 2)
    with detached():
        along_k = contiguous(lambda kk: element(y, zeros, kk, int64(0))) and not contiguous(
            lambda j: element(y, zeros, int64(0), j))
    tile = tile_for(target, dtype if dtype.startswith("float") else "float32")
    task = batched_matmul(m=m, n=n, k=k, batch=batch, rows=tile.rows, columns=tile.columns, dtype=dtype, along_k=along_k)
    parallel_loop(task_count(batches, m, n, tile.rows, tile.columns), batches * m * n * k, task)
