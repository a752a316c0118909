"""Elementwise kernels, fused: a thread for each element."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.access import Index
from targets.codegen.kernel_builder import KernelBuilder
from targets.cuda.kernels.device import each, grid
from tgraph.ir.values import Value
from tgraph.ops.shape import product

THREADS = 256
NARROW = 64  # columns below which a block takes elements of several rows


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit all outputs of the function, a launch each."""
    for name, value in builder.function.outputs:
        _output(builder, name, value)


def _output(builder: KernelBuilder, name: str, value: Value) -> None:
    rows, columns = product(value.shape[:-1]), value.shape[-1] if value.shape else 1
    if rows == 1 or (isinstance(columns, int) and columns < NARROW):
        with each(builder.size(value.type.size), THREADS) as i:
            _write(builder, name, value, builder.access.split(i, (rows, columns)))
        return
    threads = THREADS if not isinstance(columns, int) else next(t for t in (64, 128, THREADS) if columns <= t or t == THREADS)
    width = builder.size(columns)
    chunks = tirx.truncdiv(width + int64(threads - 1), int64(threads))
    with grid(threads, builder.size(rows) * chunks) as (block, _, _, thread):  # one row for a whole block: no division a thread
        row = T.bind(tirx.truncdiv(block, chunks))
        column = T.bind((block - row * chunks) * int64(threads) + tirx.Cast("int64", thread))
        with T.If(column < width), T.Then():
            _write(builder, name, value, ((rows, row), (columns, column)))


def _write(builder: KernelBuilder, name: str, value: Value, index: Index) -> None:
    element: Expr = builder.access.load(value, index)
    builder.write(name, index, element)


