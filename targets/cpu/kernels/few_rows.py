"""Products of few rows with weights of 2 or 4 bits: each is read once from memory, and taken apart in registers for all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.codegen.scalar import cast
from targets.codegen.vector_math import constant
from targets.cpu.kernels.digits import LEAST, Digits, bits_for
from targets.cpu.kernels.dots import run, vector_at
from targets.cpu.kernels.gemm_tile import CACHE_LINE
from targets.cpu.kernels.pieces import parallel, part_count
from targets.cpu.kernels.prefetch import prefetch
from targets.cpu.kernels.register_tile import by_height, each_column_of_panel
from targets.cpu.kernels.words import BYTES, Words, add_scaled
from targets.cpu.kernels.workers import ceil_divide, i64
from tgraph.ir.dtypes import f32

ROWS = 4  # whose sums stay in registers while a block goes by
NEAR = 4096  # bytes of words that are asked for ahead
FAR = 8  # blocks whose scales are

Load = Callable[[Expr, Expr], Expr]
Store = Callable[[Expr, Expr, Expr], None]
Tile = Callable[[int, Expr, Expr, Expr, Expr], None]


def few_rows(*, m: Expr, most: int, n: int, load: Load, weights: Words, store: Store) -> None:
    """Emits C = A W^T for m <= `most` rows, which each worker multiplies with its share of the panels, ROWS of them at a time.

    The sum of a block is scaled once, and zero is taken off as zero times the sum of A's block. Workers read one panel after the
    other, block by block, and sums wait in the first cache (four side by side take a Zen 4 half as long again). `load`
    and `store` as in `gemm`.
    """
    _FewRows(m, most, n, load, weights, store).emit()


class _FewRows:
    def __init__(self, m: Expr, most: int, n: int, load: Load, weights: Words, store: Store) -> None:
        self.m, self.most, self.n = m, most, n
        self.load, self.weights, self.store = load, weights, store
        self.n_panels = -(-n // weights.columns)
        self.block = weights.whole_blocks
        self.by_digits = weights.dots and bits_for(weights) >= LEAST
        self.sums_needed = self.by_digits or weights.left(i64(0)) is not None

    def emit(self) -> None:
        weights = self.weights
        with parallel(bind(tirx.min(part_count(), i64(self.n_panels)))) as worker:
            self.a = T.alloc_buffer((self.most * weights.depth,), "float32")
            self.sums_of_a = T.alloc_buffer((self.most * weights.blocks,), "float32")
            self.sums = T.alloc_buffer((ROWS * weights.columns,), "float32")
            self._pack()
            digits = Digits(weights, self.most) if self.by_digits else None
            if digits is not None:
                digits.pack(self.m, self.a)
            # Infinities have no digits, and less zero times themselves would be NaN: rows that have some go another way.
            finite = self._finite() if self.sums_needed else None

            def piece(first: Expr, panels: Expr) -> None:
                with T.serial(panels) as p:
                    self._panel(bind(first + p), digits, finite)

            worker.each_run(i64(self.n_panels), piece)

    def _panel(self, panel: Expr, digits: Digits | None, finite: Expr | None) -> None:
        """Emits the products of all rows with one panel."""
        weights = self.weights
        most = ROWS if weights.lanes == 16 or digits is None else ROWS // 2  # sums in three digits take half of 32 registers
        with T.serial(bind(ceil_divide(self.m, most))) as part:
            row = bind(part * most)
            rows = bind(tirx.min(self.m - row, i64(most)))

            def block_by_block(tile: Tile, heights: Sequence[int] = range(1, most + 1)) -> None:
                def emit(height: int) -> None:
                    with T.serial(i64(weights.blocks)) as block:
                        self._prefetch(panel, block)
                        tile(height, row, panel, block, i64(0))

                by_height(rows, heights, emit)

            def row_by_row(_: int, row: Expr, panel: Expr, block: Expr, to: Expr) -> None:
                with T.serial(rows) as i:
                    self._tile(1, bind(row + i), panel, block, bind(to + i * weights.columns), each=True)

            of_finite = self._tile if digits is None else partial(digits.tile, sums=self.sums, sums_of_a=self.sums_of_a)
            if finite is None:
                block_by_block(of_finite)
            else:
                with T.If(finite):
                    with T.Then():
                        block_by_block(of_finite)
                    with T.Else():
                        block_by_block(row_by_row, [most])
            self._finish(row, rows, panel)

    def _pack(self) -> None:
        """Copies A, with zeros behind each row up to whole blocks, and sums its blocks."""
        depth, k, lanes = self.weights.depth, self.weights.k, min(8, self.weights.lanes)
        with T.serial(self.m) as i:
            start = bind(i * depth)

            def copy(at: Any, count: int) -> None:
                with T.vectorized(count) as lane:
                    column = at + tirx.Cast("int64", lane)
                    T.buffer_store(self.a, cast(self.load(i, column), "float32"), [start + column])

            with T.serial(i64(k // lanes)) as part:
                copy(part * lanes, lanes)
            if k % lanes:
                copy(i64(k // lanes * lanes), k % lanes)
            if depth > k:
                with T.serial(i64(depth - k)) as rest:
                    T.buffer_store(self.a, constant(0.0, "float32"), [start + k + rest])
            if not self.sums_needed:
                return
            part_sums = T.alloc_buffer((lanes,), "float32")
            with T.serial(i64(self.weights.blocks)) as block:
                T.buffer_store(part_sums, tirx.Broadcast(constant(0.0, "float32"), lanes), [vector_at(i64(0), lanes)])
                with T.serial(i64(self.block // lanes)) as part:
                    added = run(part_sums, i64(0), lanes) + run(self.a, start + block * self.block + part * lanes, lanes)
                    T.buffer_store(part_sums, added, [vector_at(i64(0), lanes)])
                total: Expr = part_sums[i64(0)]
                for lane in range(1, lanes):
                    total = total + part_sums[i64(lane)]
                T.buffer_store(self.sums_of_a, total, [i * self.weights.blocks + block])

    def _finite(self) -> Expr:
        """Whether all sums of A's blocks are, and so A."""
        odd, largest = T.alloc_buffer((1,), "int32"), constant(f32.largest, "float32")
        T.buffer_store(odd, constant(0, "int32"), [0])
        with T.serial(self.m * self.weights.blocks) as at:
            total = self.sums_of_a[at]
            within = tirx.And(total <= largest, total >= constant(-f32.largest, "float32"))  # NaN is not
            T.buffer_store(odd, tirx.Select(within, odd[0], constant(1, "int32")), [0])
        return bind(odd[0] <= constant(0, "int32"))

    def _tile(self, height: int, row: Expr, panel: Expr, block: Expr, to: Expr, each: bool = False) -> None:
        """Emits the sums of `height` rows from `row` on with one block of a panel, added to those in `sums` from `to` on.

        each: take zero off of each number, not of their sum.
        """
        weights, lanes = self.weights, self.weights.lanes
        places = [bind((panel * weights.blocks + block) * weights.columns + v * lanes) for v in range(2)]
        zeros = [weights.left(place) for place in places]
        chains = 2 if height == 1 else 1  # sums of one row would wait for themselves
        parts = [T.alloc_buffer((height * chains * lanes,), "float32") for _ in range(2)]
        for part in parts:
            for i in range(height * chains):
                T.buffer_store(part, tirx.Broadcast(constant(0.0, "float32"), lanes), [vector_at(i64(i * lanes), lanes)])
        groups = self.block // weights.steps
        with T.serial(i64(groups)) as group:
            start = bind(row * weights.depth + (block * groups + group) * weights.steps)
            words = [weights.words(panel, block * groups + group, v) for v in range(2)]
            for step in range(weights.steps):
                for v in range(2):
                    number, zero = weights.number(words[v], step), zeros[v]
                    number = bind(number if zero is None or not each else number - zero)
                    for i in range(height):
                        left = tirx.Broadcast(self.a[start + i * weights.depth + step], lanes)
                        at = (i * chains + step % chains) * lanes
                        T.buffer_store(parts[v], run(parts[v], i64(at), lanes) + left * number, [vector_at(i64(at), lanes)])
        for v in range(2):
            scale, left = bind(weights.scale(places[v])), zeros[v]
            for i in range(height):
                part = run(parts[v], i64(i * chains * lanes), lanes)
                if chains > 1:
                    part = part + run(parts[v], i64((i * chains + 1) * lanes), lanes)
                if left is not None and not each:
                    part = part - left * tirx.Broadcast(self.sums_of_a[(row + i) * weights.blocks + block], lanes)
                add_scaled(self.sums, to + (i * weights.columns + v * lanes), lanes, part * scale, block)

    def _prefetch(self, panel: Expr, block: Any) -> None:
        """Asks for words that come later; beyond the end this does nothing."""
        size = self.block // self.weights.steps * self.weights.columns * BYTES
        first = bind((panel * self.weights.blocks + block) * size + NEAR)
        with T.serial(i64(-(-size // CACHE_LINE))) as line:
            prefetch(self.weights.packed[first + line * CACHE_LINE])
        if self.weights.scales is not None:
            prefetch(self.weights.scales[(panel * self.weights.blocks + block + FAR) * self.weights.columns])

    def _finish(self, row: Expr, rows: Expr, panel: Expr) -> None:
        """Hands the sums of rows to `store`, the weights' padding left out."""
        columns = self.weights.columns
        with T.serial(rows) as i:

            def store(first: Expr, lane: Any) -> None:
                j = first + lane
                self.store(row + i, panel * columns + j, self.sums[i * columns + j])

            each_column_of_panel(panel == self.n_panels - 1, self.n, columns, self.weights.lanes, store)
