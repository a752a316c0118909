"""Everything that is computed element by element, fused: a thread an element."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.access import Index
from targets.codegen.frame import Frame
from targets.cuda.kernels.device import each, grid
from tgraph.ir.values import Value
from tgraph.ops.shape import product

THREADS = 256
NARROW = 64  # columns below which a block takes elements of several rows


def emit(frame: Frame, target: Target) -> None:
    """All outputs of the function, a launch each."""
    for name, value in frame.function.outputs:
        _output(frame, name, value)


def _output(frame: Frame, name: str, value: Value) -> None:
    rows, columns = product(value.shape[:-1]), value.shape[-1] if value.shape else 1
    if rows == 1 or (isinstance(columns, int) and columns < NARROW):
        with each(frame.size(value.type.size), THREADS) as i:
            _write(frame, name, value, frame.access.split(i, (rows, columns)))
        return
    threads = THREADS if not isinstance(columns, int) else next(t for t in (64, 128, THREADS) if columns <= t or t == THREADS)
    width = frame.size(columns)
    chunks = tirx.truncdiv(width + int64(threads - 1), int64(threads))
    with grid(threads, frame.size(rows) * chunks) as (block, _, _, thread):  # one row for a whole block: no division a thread
        row = T.bind(tirx.truncdiv(block, chunks))
        column = T.bind((block - row * chunks) * int64(threads) + tirx.Cast("int64", thread))
        with T.If(column < width), T.Then():
            _write(frame, name, value, ((rows, row), (columns, column)))


def _write(frame: Frame, name: str, value: Value, index: Index) -> None:
    element: Expr = frame.access.load(value, index)
    frame.write(name, index, element)


