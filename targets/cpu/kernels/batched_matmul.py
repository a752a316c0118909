"""Products of two tensors that are both known at run time only, C[b] = X[b] Y[b].

A task is a block of rows times a panel of columns. It copies a slice of Y into the first cache, as a panel that every row
tile of the block then reads, and reads X where it lies. An element's sum runs over k in one order at any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.cpu.kernels.lane_blocks import SIDE, transpose
from targets.cpu.kernels.register_tile import RegisterTile, by_height, each_column, heights, rounded
from targets.cpu.kernels.workers import ceil_divide, divide, i64, remainder

DEPTH = 256  # steps of k for which a panel is copied: 16 KB in f32 at 16 columns
BLOCK_TILES = 16  # tiles of rows that share the copy

Element = Callable[[Expr, Expr], Expr]


@dataclass(frozen=True)
class Operands:
    """One product of the batch: x(i, k), y(k, j) (read for j, or if `along_k` for k, in vectors), store(i, j, sum)."""

    x: Element
    y: Element
    store: Callable[[Expr, Expr, Expr], None]


def batched_matmul(
    *, m: Expr, n: Expr, k: Expr, batch: Callable[[Expr], Operands], rows: int, columns: int, dtype: str, along_k: bool,
) -> Callable[[Expr], None]:  # fmt: skip
    """A function that emits task t, to be called for t < `task_count`; m, n, k are int64 and may be 0.

    `batch(b)` gives the operands of product b. `rows` x `columns` (two vectors) sums are kept in registers. `along_k` says
    that y is contiguous in k, not in j.
    """
    return _Product(m, n, k, batch, rows, columns, dtype, along_k).task


def task_count(batches: Expr, m: Expr, n: Expr, rows: int, columns: int) -> Expr:
    """The number of tasks of a product."""
    return batches * ceil_divide(m, BLOCK_TILES * rows) * ceil_divide(n, columns)


class _Product:
    def __init__(self, m: Expr, n: Expr, k: Expr, batch: Callable[[Expr], Operands], rows: int, columns: int, dtype: str,
                 along_k: bool) -> None:  # fmt: skip
        self.m, self.n, self.k, self.batch = m, n, k, batch
        self.rows, self.columns, self.lanes = rows, columns, columns // 2
        self.dtype, self.heights = dtype, heights(rows)
        self.transposes = along_k and dtype == "float32" and columns % SIDE == 0

    def task(self, t: Expr) -> None:
        """Emits one block of rows times one panel of columns."""
        high = BLOCK_TILES * self.rows
        panels, blocks = bind(ceil_divide(self.n, self.columns)), bind(ceil_divide(self.m, high))
        operands = self.batch(bind(divide(t, panels * blocks)))
        row = bind(remainder(divide(t, panels), blocks) * high)
        column = bind(remainder(t, panels) * self.columns)
        rows_here = bind(tirx.min(self.m - row, i64(high)))
        panel = T.alloc_buffer((DEPTH * self.columns,), self.dtype)
        sums = T.alloc_buffer((high * self.columns,), self.dtype)
        # 8 rows are better done as 4 + 4 than as 6 + 2
        height = bind(rounded(ceil_divide(rows_here, ceil_divide(rows_here, self.rows)), self.heights))
        slices = bind(tirx.max(i64(1), ceil_divide(self.k, DEPTH)))
        with T.serial(slices) as part:
            start = bind(part * DEPTH)
            depth = bind(tirx.min(self.k - start, i64(DEPTH)))
            self._copy(operands, panel, start, depth, column)
            with T.serial(ceil_divide(rows_here, height)) as tile:
                first = bind(tile * height)
                here = bind(tirx.min(rows_here - first, height))
                by_height(here, self.heights, lambda h: self._tile(h, operands, panel, sums, row + first, first, start, depth))
        with T.serial(rows_here) as i:
            self._finish(operands, sums, row, i, column)

    def _copy(self, operands: Operands, panel: Any, start: Expr, depth: Expr, column: Expr) -> None:
        """panel[k, j] = y; columns past the last repeat it."""

        def element(k: Expr, j: Expr) -> Expr:
            return operands.y(start + k, tirx.min(column + j, self.n - 1))

        done = i64(0)
        if self.transposes:
            done = bind(divide(depth, SIDE) * SIDE)
            with T.serial(divide(depth, SIDE)) as k8, T.serial(i64(self.columns // SIDE)) as j8:
                transpose(
                    lambda r, lane: element(k8 * SIDE + lane, j8 * SIDE + r),
                    panel,
                    lambda c: (k8 * SIDE + c) * self.columns + j8 * SIDE,
                )
        with T.serial(depth - done) as k:

            def columns(of: Callable[[Expr], Expr]) -> None:
                with T.vectorized(self.columns) as lane:
                    T.buffer_store(panel, of(tirx.Cast("int64", lane)), [(done + k) * self.columns + lane])

            with T.If(column + self.columns <= self.n):
                with T.Then():
                    columns(lambda j: operands.y(start + done + k, column + j))
                with T.Else():
                    with T.serial(i64(self.columns)) as j:
                        T.buffer_store(panel, element(done + k, j), [(done + k) * self.columns + j])

    def _tile(self, height: int, operands: Operands, panel: Any, sums: Any, row: Expr, first: Expr, start: Expr, depth: Expr,
              ) -> None:  # fmt: skip
        """Adds one slice of k to a tile of `height` rows; rows past the last repeat it and are not stored."""
        tile = RegisterTile(height, self.lanes, self.dtype)

        def at(i: Any, v: int, lane: Any) -> Expr:
            return (first + i) * self.columns + v * self.lanes + lane

        tile.clear()
        with T.serial(depth) as k:

            def product(i: Any, v: int, lane: Any) -> Expr:
                return operands.x(tirx.min(row + i, self.m - 1), start + k) * panel[k * self.columns + v * self.lanes + lane]

            tile.add(product)
        with T.If(start > 0), T.Then():  # slices are added to each other: no sum is one long chain
            tile.add(lambda i, v, lane: sums[at(i, v, lane)])
        tile.each(lambda i, v, lane: T.buffer_store(sums, tile[i, v, lane], [at(i, v, lane)]))

    def _finish(self, operands: Operands, sums: Any, row: Expr, i: Expr, column: Expr) -> None:
        def store(first: Expr, lane: Any) -> None:
            operands.store(row + i, column + first + lane, sums[i * self.columns + first + lane])

        with T.If(column + self.columns <= self.n):
            with T.Then():
                each_column(self.columns, self.lanes, store)
            with T.Else(), T.serial(self.n - column) as j:
                store(j, i64(0))
