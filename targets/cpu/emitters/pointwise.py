"""Elementwise kernels: one fused loop, vectorised, parallel over rows."""

from __future__ import annotations

from collections.abc import Callable

from targets.base.target import Target
from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.access import Index
from targets.codegen.kernel_builder import SMALL, KernelBuilder
from tgraph.ir.dims import DimLike
from tgraph.ir.values import Value

LANES = 16
Loop = Callable[[Expr], None]


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit all outputs of the function, one loop nest each."""
    for name, value in builder.function.outputs:
        _output(builder, name, value)


def _output(builder: KernelBuilder, name: str, value: Value) -> None:
    if _uniform(builder, value):  # nothing is broadcast: one flat row, cut into chunks
        total = value.type.size
        chunk = 4096
        chunks = (total + (chunk - 1)) // chunk

        def chunk_body(c: Expr) -> None:
            start = c * int64(chunk)
            length = tirx.Min(int64(chunk), builder.size(total) - start)

            def store(j: Expr) -> None:
                index: Index = ((total, start + j),)
                builder.write(name, index, builder.access.load(value, index))

            vector_loop(length, store)

        parallel_loop(builder.size(chunks), builder.size(total), chunk_body)
        return
    rows, columns = rows_and_columns(value.shape)

    def row(r: Expr) -> None:
        def store(j: Expr) -> None:
            index: Index = ((rows, r), (columns, j))
            builder.write(name, index, builder.access.load(value, index))

        vector_loop(builder.size(columns), store)

    parallel_loop(builder.size(rows), builder.size(value.type.size), row)


def rows_and_columns(shape: tuple[DimLike, ...]) -> tuple[DimLike, DimLike]:
    """The sizes of a shape as a matrix: all leading axes as one, and the last (1 for rank 0)."""
    rows: DimLike = 1
    for size in shape[:-1]:
        rows = rows * size
    return rows, shape[-1] if shape else 1


def _uniform(builder: KernelBuilder, value: Value) -> bool:
    """Whether every tensor of the function has the shape of the output, or is one number."""
    everything = [*builder.function.inputs, *(r for n in builder.function.nodes for r in n.results)]
    moved = any(not n.op.elementwise and n.op.traits.view != "regroup" for n in builder.function.nodes)
    return not moved and all(v.type.size == value.type.size or all(d == 1 for d in v.shape) for v in everything)


def parallel_loop(extent: Expr, work: Expr, body: Loop) -> None:
    """Emit body(i) for i < extent, on all threads if there is enough work (in elements), else on the caller's."""
    if isinstance(work, tirx.IntImm):
        with (T.parallel if int(work.value) >= SMALL else T.serial)(int64(0), extent) as i:
            body(i)
        return
    with T.If(work >= int64(SMALL)):
        with T.Then(), T.parallel(int64(0), extent) as i:
            body(i)
        with T.Else(), T.serial(int64(0), extent) as i:
            body(i)


def vector_loop(length: Expr, body: Loop, lanes: int = LANES) -> None:
    """Emit body(j) for j < length, `lanes` at a time, the rest one by one."""
    static = int(length.value) if isinstance(length, tirx.IntImm) else None
    if static is None or static >= lanes:
        with T.serial(int64(0), tirx.floordiv(length, int64(lanes))) as block, T.vectorized(int64(0), int64(lanes)) as lane:
            body(block * int64(lanes) + lane)
    if static is None or static % lanes:
        start = tirx.floordiv(length, int64(lanes)) * int64(lanes)
        with T.serial(int64(0), length - start) as j:
            body(start + j)
