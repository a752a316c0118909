"""Matrix product with packed weights, C = A W^T: one kernel for every number of rows.

After Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM TOMS 34(3), 2008): blocks of A are
copied into the second cache, and a tile of sums stays in registers over a long run of k. An element's sum runs over k
in one order, whatever the number of rows and workers, so that both leave its bits as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.codegen.scalar import cast
from targets.cpu.kernels.few_rows import few_rows
from targets.cpu.kernels.gemm_tile import CACHE_LINE, SIZE, Ahead, GemmTile, TileLoop
from targets.cpu.kernels.pieces import Once, parallel, part_count
from targets.cpu.kernels.register_tile import by_height, each_column_of_panel, heights, rounded
from targets.cpu.kernels.weights import Numbers, Read, Single, Weights
from targets.cpu.kernels.words import Words
from targets.cpu.kernels.workers import ceil_divide, divide, i64, remainder, worker_grid

__all__ = ["GemmTile", "gemm"]

FEW = 2  # tiles that take turns, so that each weight is read from memory once
LONG = 16384  # steps of k from which on a sum is not one chain, but taken in blocks

Load = Callable[[Expr, Expr], Expr]
Store = Callable[[Expr, Expr, Expr], None]


def gemm(
    *,
    m: Expr | int,
    n: int,
    load: Load,
    weights: Weights,
    store: Store,
    tile: GemmTile,
    dtype: str = "float32",
    accumulate: str | None = None,
) -> None:
    """Emits C[i, j] = sum over k of A[i, k] W[j, k], for i < m (int64, 0 allowed) and j < n.

    `load(i, k)` is A[i, k], read for k in vectors; it may have any floating dtype. `weights` lie in panels of `tile.columns`
    columns, in `dtype` or narrower. `store(i, j, sum)` emits the store of one element, within a vectorized loop over j; it is
    run once an element, for j < n only. Sums are kept in `accumulate`: by default `dtype`, or f32 for half precisions.
    """
    sums = accumulate or ("float32" if SIZE[dtype] < 4 else dtype)
    if n > 0:
        _Product(m if isinstance(m, Expr) else i64(m), n, load, weights, store, tile, sums).emit()
    else:
        T.evaluate(i64(0))


class _Product:
    def __init__(
        self, m: Expr, n: int, load: Load, weights: Weights, store: Store, tile: GemmTile, accumulate: str
    ) -> None:
        k = weights.k
        self.m, self.n, self.k = m, n, k
        self.load, self.weights, self.store = load, weights, store
        self.tile, self.accumulate = tile, accumulate
        self.line = CACHE_LINE // SIZE[accumulate]
        self.n_panels = -(-n // tile.columns)
        self.heights = heights(tile.rows)
        self.lines = max(1, -(-k // self.line))
        self.ragged = self.lines * self.line != k
        # blocks of k as equal as whole lines allow
        blocks = max(1, -(-k // tile.k_block))
        self.k_block = max(1, -(-k // (blocks * self.line))) * self.line
        self.k_blocks = max(1, -(-k // self.k_block))
        self.tiles_high = max(1, tile.m_block // tile.rows)
        self.chunk = max(1, tile.n_block // tile.columns)

    def emit(self) -> None:
        if self.k > LONG or (isinstance(self.m, tirx.IntImm) and self.m.value > self.tile.rows):
            self._many_rows()
            return
        few = 1 if isinstance(self.weights, Words) or self.weights.costly else FEW
        with T.If(self.m <= few * self.tile.rows):
            with T.Then():
                if isinstance(self.weights, Words):
                    few_rows(m=self.m, most=self.tile.rows, n=self.n, load=self.load, weights=self.weights, store=self.store)
                else:
                    self._few_rows(few)
            with T.Else():
                self._many_rows()

    def _few_rows(self, few: int) -> None:
        """Emits a product of at most `few` tiles of rows, as fast as memory gives weights: each is read from there once.

        The tiles take turns of a line of A, while their sums wait in the first cache.
        """
        tile = self.tile
        with parallel(bind(tirx.min(part_count(), self.n_panels))) as worker:
            of_tile = tile.rows * self.lines * self.line
            packed = T.alloc_buffer((few * of_tile,), self.accumulate)
            sums = T.alloc_buffer((few * tile.rows * tile.columns,), self.accumulate)
            self.loop = TileLoop(tile, packed, sums, self.accumulate)
            tiles = bind(tirx.max(ceil_divide(self.m, tile.rows), 1)) if few > 1 else i64(1)
            height = bind(rounded(ceil_divide(self.m, tiles), self.heights))
            self._pack(i64(0), bind(tiles * height), height, i64(0), i64(self.k), of_tile)

            def piece(first: Expr, panels: Expr) -> None:
                with T.serial(panels) as p:

                    def in_turns(rows: int) -> None:
                        with T.serial(i64(self.lines)) as line, T.serial(tiles) as t:
                            self._turn(rows, t, tiles, line, first + p)

                    by_height(height, self.heights, in_turns)  # here: what finishes a tile is compiled once, not for each height
                    with T.serial(tiles) as t:
                        row = bind(t * height)
                        here = bind(tirx.min(self.m - row, height))
                        self._finish(row, here, first + p, bind(t * (tile.rows * tile.columns)))

            worker.each_run(i64(self.n_panels), piece)

    def _turn(self, rows: int, t: Any, tiles: Expr, line: Any, panel: Expr) -> None:
        """Emits a line of tile `t` times its part of a panel, while memory brings what comes two lines later."""
        tile = self.tile
        first = line * self.line
        count = bind(tirx.min(i64(self.line), self.k - first)) if self.ragged else i64(self.line)
        assert isinstance(self.weights, Single)
        weights = self.weights.reader(panel, first, self.accumulate)
        ahead = None
        if isinstance(self.weights, Numbers):
            start = bind(self.weights.place(panel, first + 2 * self.line))
            of_line = CACHE_LINE // SIZE[str(self.weights.panels.dtype)]
            places = [start]
            if tile.columns > of_line:  # two lines of the cache a step: one for each tile, or both for the only one
                places = [bind(start + t * of_line), bind(start + tirx.max(t, 2 - tiles) * of_line)]
            ahead = Ahead(self.weights.panels, places, i64(tile.columns))
        a = bind((t * self.lines + line) * (tile.rows * self.line))
        self.loop.between_sums(
            rows, bind(t * (tile.rows * tile.columns)), line > 0,
            lambda registers: self.loop.steps(registers, a, weights, i64(0), count, ahead))

    def _many_rows(self) -> None:
        """Emits a product of many rows: a part of the tiles for each worker, in pieces of one block of A and some panels."""
        tile = self.tile
        m_tiles = bind(ceil_divide(self.m, tile.rows))
        grid = worker_grid(part_count(), m_tiles, self.n_panels)
        with parallel(bind(grid[0] * grid[1])) as worker:
            packed = T.alloc_buffer((self.tiles_high * tile.rows * self.k_block,), self.accumulate)
            kept = self.tiles_high * self.chunk if self.k_blocks > 1 else 1
            sums = T.alloc_buffer((kept * tile.rows * tile.columns,), self.accumulate)
            if self.weights.costly:
                self.widened = T.alloc_buffer((self.k_block * tile.columns,), self.accumulate)
            self.loop = TileLoop(tile, packed, sums, self.accumulate, separate=self.k > LONG)
            self.once = Once()

            def piece(first_tile: Expr, tiles: Expr, panel: Expr, panels: Expr) -> None:
                row = bind(first_tile * tile.rows)
                rows = bind(tirx.min(self.m - row, tiles * tile.rows))
                with T.serial(i64(self.k_blocks)) as k_block:
                    self._block(row, rows, panel, panels, k_block)

            worker.each_block(grid, m_tiles, self.n_panels, piece,
                              high=self.tiles_high, wide=self.chunk, always=self.k_blocks > 1)

    def _block(self, row: Expr, rows: Expr, panel: Expr, panels: Expr, k_block: Any) -> None:
        """Emits one block of A times a chunk of weight panels, over one block of k."""
        tile = self.tile
        k = k_block * self.k_block
        depth = i64(self.k_block)
        if self.k % self.k_block or self.k == 0:
            depth = bind(tirx.min(depth, self.k - k))
        # 8 rows are better done as 4 + 4 than as 6 + 2: the shorter a tile, the more it waits for its own sums
        height = bind(rounded(ceil_divide(rows, ceil_divide(rows, tile.rows)), self.heights))
        whole = bind(divide(rows, height) * height)
        padded = bind(whole + rounded(rows - whole, self.heights))
        pack = partial(self._pack, row, padded, height, k, depth, tile.rows * self.k_block)
        if self.k_blocks == 1:
            self.once.make(row, pack)
        else:
            pack()
        tiles = bind(ceil_divide(rows, height))
        with T.serial(panels) as p:
            if self.weights.costly:
                self.weights.widen(panel + p, k, depth, self.widened, tile.lanes)
            with T.serial(tiles) as t:
                here = bind(tirx.min(rows - t * height, height))
                sums = i64(0)
                if self.k_blocks > 1:
                    sums = bind((p * self.tiles_high + t) * (tile.rows * tile.columns))
                a = bind(t * (tile.rows * self.k_block))
                resume = k_block > 0 if self.k_blocks > 1 else None
                weights = self._reader(panel + p, k)
                ahead = self._ahead(panel, p, panels, k, depth, t, tiles)
                by_height(here, self.heights, lambda h: self.loop.emit(h, a, weights, sums, depth, resume, self.ragged, ahead))
                if self.k_blocks == 1:
                    self._finish(row + t * height, here, panel + p, sums)
                else:
                    with T.If(k_block == self.k_blocks - 1), T.Then():
                        self._finish(row + t * height, here, panel + p, sums)

    def _reader(self, panel: Expr, k: Expr) -> Read:
        """What reads the weights of one panel and block of k."""
        if isinstance(self.weights, Single) and not self.weights.costly:
            return self.weights.reader(panel, k, self.accumulate)
        return lambda step, column: self.widened[step * self.tile.columns + column]

    def _ahead(self, panel: Expr, p: Expr, panels: Expr, k: Expr, depth: Expr, t: Expr, tiles: Expr) -> Ahead | None:
        """What tile `t` of `tiles` prefetches of the weights after panel `p`: its share of the next slice."""
        weights = self.weights
        if not isinstance(weights, Numbers):
            return None
        columns = self.tile.columns
        following = weights.place(panel + p + 1, k)
        if self.k_blocks > 1:
            following = tirx.Select(p < panels - 1, following, weights.place(panel, k + self.k_block))
        start = bind(following + divide(t * depth * columns, tiles))
        return Ahead(weights.panels, [start], bind(ceil_divide(i64(columns), tiles)))

    def _pack(self, row: Expr, rows: Expr, height: Expr, k: Expr, depth: Expr, of_tile: int) -> None:
        """Copies a block of A into the layout of `TileLoop`, `of_tile` elements a tile; rows past A's end repeat its last one."""
        tile, packed = self.tile, self.loop.packed
        with T.serial(rows) as i:
            source = bind(tirx.min(row + i, self.m - 1))
            target = bind(divide(i, height) * of_tile + remainder(i, height) * self.line)

            def copy(line: Expr, step: Expr) -> None:
                value = cast(self.load(source, k + line * self.line + step), self.accumulate)
                T.buffer_store(packed, value, [target + line * (tile.rows * self.line) + step])

            lines = bind(divide(depth, self.line))
            with T.serial(lines) as line:
                for part in range(0, self.line, tile.lanes):
                    with T.vectorized(tile.lanes) as lane:
                        copy(line, part + tirx.Cast("int64", lane))
            if self.k % self.line:
                with T.serial(remainder(depth, self.line)) as step:
                    copy(lines, step)

    def _finish(self, row: Expr, rows: Expr, panel: Expr, sums: Expr) -> None:
        """Hands the complete sums of one tile to `store`, the weights' padding left out."""
        columns = self.tile.columns
        with T.serial(rows) as i:

            def store(first: Expr, lane: Any) -> None:
                j = first + lane
                self.store(row + i, panel * columns + j, self.loop.sums[sums + i * columns + j])

            each_column_of_panel(panel == self.n_panels - 1, self.n, columns, self.tile.lanes, store)
