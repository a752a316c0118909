"""Products of two tensors that are both known at run time only: small register tiles, parallel over batch and rows."""

from __future__ import annotations

from collections.abc import Callable

from targets.kernels.cpu.families.anchor import accumulator_dtype, epilogue, find_anchor
from targets.kernels.cpu.families.pointwise import parallel_loop
from targets.kernels.frame import Frame
from targets.kernels.scalar import cast
from targets.target import Target
from targets.tvm_api import Expr, T, int64, tirx
from tgraph.ir.dims import DimLike

ROWS, LANES = 4, 16


def emit(frame: Frame, target: Target) -> None:
    """`matmul(x, y)` over leading axes that broadcast, and its epilogue."""
    node = find_anchor(frame, "matmul")
    x, y = node.inputs
    result = node.result
    shape = result.shape
    batch: DimLike = 1
    for size in shape[:-2]:
        batch = batch * size
    m, n, k = frame.size(shape[-2]), frame.size(shape[-1]), frame.size(x.shape[-1])
    dtype = accumulator_dtype(x)
    finish = epilogue(frame, node)
    access = frame.access
    lead = len(shape) - 2

    def element(operand: object, batches: list[Expr], i: Expr, j: Expr) -> Expr:
        own = operand.shape  # type: ignore[attr-defined]
        positions = batches[lead - (len(own) - 2):]
        digits = [(d, int64(0) if d == 1 else p) for d, p in zip(own, [*positions, i, j])]
        return cast(access.load(operand, tuple(digits)), dtype)  # type: ignore[arg-type]

    blocks = tirx.floordiv(m + int64(ROWS - 1), int64(ROWS))

    def task(t: Expr) -> None:
        which = T.bind(tirx.floordiv(t, blocks))
        first = T.bind(tirx.floormod(t, blocks) * int64(ROWS))
        batches = [position for _, position in access.split(which, shape[:-2])]
        tile = T.alloc_buffer((ROWS * LANES,), dtype, scope="global")

        def columns(start: Expr, lanes: int) -> None:
            def over(body: Callable[[int, Expr], None]) -> None:
                for r in range(ROWS):
                    with T.vectorized(int64(0), int64(lanes)) as v:
                        body(r, v)

            def row(r: int) -> Expr:  # rows past the end repeat the last: read, never stored
                return tirx.Min(first + int64(r), m - int64(1))

            over(lambda r, v: T.buffer_store(tile, tirx.const(0, dtype), [int64(r * LANES) + v]))
            with T.serial(int64(0), k) as kk:
                over(lambda r, v: T.buffer_store(
                    tile, tile[int64(r * LANES) + v] + element(x, batches, row(r), kk) * element(y, batches, kk, start + v),
                    [int64(r * LANES) + v]))
            for r in range(ROWS):
                with T.If(first + int64(r) < m), T.Then(), T.vectorized(int64(0), int64(lanes)) as v:
                    index = (*zip(shape[:-2], batches), (shape[-2], first + int64(r)), (shape[-1], start + v))
                    finish(tuple(index), tile[int64(r * LANES) + v])

        whole = tirx.floordiv(n, int64(LANES))
        with T.serial(int64(0), whole) as block:
            columns(block * int64(LANES), LANES)
        with T.serial(int64(0), n - whole * int64(LANES)) as j:
            columns(whole * int64(LANES) + j, 1)

    parallel_loop(frame.size(batch) * blocks, frame.size(batch) * m * n * k, task)
