"""Matrix product by dot instructions, C = A W^T with 8-bit integers or bf16: groups of k at a time, sums in 32 bits.

As in `gemm`, blocks of A are copied into the second cache and a tile of sums stays in registers; here over all of k,
since elements are small, so that no sums wait in memory. Of bytes without VNNI packed A lacks what `Rests` adds after each tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.codegen.vector_math import constant
from targets.cpu.kernels.byte_dot import ByteDot
from targets.cpu.kernels.dots import Dot, run, vector_at
from targets.cpu.kernels.gemm_tile import CACHE_LINE, SIZE, Ahead
from targets.cpu.kernels.pieces import Once, parallel, part_count
from targets.cpu.kernels.register_tile import by_height, each_column_of_panel, heights, rounded
from targets.cpu.kernels.rests import CHUNK, Rests
from targets.cpu.kernels.tiles import ROWS, TileDot
from targets.cpu.kernels.workers import ceil_divide, divide, i64, remainder, worker_grid

NEAR = 2048  # bytes of weights that a tile alone prefetches ahead
WORDS = 16  # 32-bit groups in a line of packed A
MANY = 8  # tiles of A in a block from which on panels are grouped
WIDE = 384  # columns of a piece, where parts are cut by columns
MOST_BESIDE = 8  # panels of one group: more made nothing faster

Load = Callable[[Expr, Expr], Expr]
Store = Callable[[Expr, Expr, Expr], None]


@dataclass(frozen=True)
class DotTile:
    """`rows` x (2 vectors of `dot.lanes`) sums in registers; `block_bytes` of packed A in the second cache.

    group_bytes: of panels that a tile of A meets before the next one's turn, so that runs of C are written; 0: of one panel.
    """

    dot: Dot
    rows: int
    block_bytes: int
    group_bytes: int = 0

    @property
    def columns(self) -> int:
        return 2 * self.dot.lanes

    @property
    def note(self) -> str:
        """A description of the tile, for people."""
        place = "tiles" if isinstance(self.dot, TileDot) else "registers"
        return (f"{self.dot.name}: sums of {self.dot.group * self.dot.deep} products in one step, accumulators "
                f"{self.rows}x{self.columns} in {place}, weights in panels of {self.columns} columns")

    @property
    def heights(self) -> list[int]:
        """The numbers of rows for which there is code, ascending; fewer rows leave some of its work unused."""
        return [ROWS, 2 * ROWS] if isinstance(self.dot, TileDot) else heights(self.rows)

    @property
    def depth(self) -> int:
        """What the depth of weights in panels is a multiple of: whole steps, or for tiles whole lines."""
        return WORDS * self.dot.group if isinstance(self.dot, TileDot) else self.dot.group * self.dot.deep

    def panels(self, n: int, k: int) -> tuple[int, ...]:
        """The shape of weights [n, k] in panels."""
        groups = -(-k // self.depth) * self.depth // self.dot.group + self.dot.sums_stored
        return -(-n // self.columns), groups, self.columns, self.dot.group

    @classmethod
    def for_target(cls, dot: Dot, vector_registers: int, l2_bytes: int) -> DotTile:
        """The tile for a CPU. Two vectors of weights and one or two groups of A stay outside; of products apart from the sums
        LLVM keeps many at once, and half of the registers have to be left to it."""
        if isinstance(dot, TileDot):
            return cls(dot, 2 * ROWS, 3 * l2_bytes // 8, l2_bytes // 8)
        rows = vector_registers // 4 if dot.products_apart else min(12, (vector_registers - 4) // 2)
        return cls(dot, rows, 3 * l2_bytes // 8)


def gemm_dot(*, m: Expr | int, n: int, k: int, load: Load, panels: Any, store: Store, tile: DotTile) -> None:
    """Emits C[i, j] = sum over k of A[i, k] W[j, k], for i < m (int64, 0 allowed) and j < n.

    `load(i, k)` is A[i, k], read for k in vectors. `panels` is a flat buffer of weights packed as [ceil(n / columns),
    groups, columns, group], zero-padded, with as many groups as whole multiples of `tile.depth` take, and where the dot has
    `sums_stored` one more, of the sum of each column in 32 bits. `store(i, j, sum)` emits the store of one element, within a
    vectorized loop over j; it is run once an element, for j < n only.
    """
    if n > 0:
        _Product(m if isinstance(m, Expr) else i64(m), n, k, load, panels, store, tile).emit()
    else:
        T.evaluate(i64(0))


class _Product:
    def __init__(self, m: Expr, n: int, k: int, load: Load, panels: Any, store: Store, tile: DotTile) -> None:
        self.m, self.n, self.k = m, n, k
        self.load, self.panels, self.store = load, panels, store
        self.tile, self.dot = tile, tile.dot
        self.line = WORDS * tile.dot.group
        self.n_panels, stored, *_ = tile.panels(n, k)
        self.groups = stored - tile.dot.sums_stored
        self.panel_elements = stored * tile.columns * tile.dot.group
        self.lines = -(-self.groups // WORDS)
        self.heights = tile.heights
        self.beside = max(1, min(MOST_BESIDE, tile.group_bytes // max(1, self.groups * tile.columns * 4)))
        tile_bytes = max(1, tile.rows * self.lines * self.line * SIZE[tile.dot.packed])
        self.tiles_high = max(1, tile.block_bytes // tile_bytes)

    def emit(self) -> None:
        with self.dot.imports():
            self._emit()

    def _emit(self) -> None:
        rows = self.tile.rows
        m_tiles = bind(ceil_divide(self.m, rows))
        grid = worker_grid(part_count(), m_tiles, self.n_panels)
        with parallel(bind(grid[0] * grid[1])) as worker, self.dot.worker():
            self.packed = T.alloc_buffer((max(1, self.tiles_high * rows * self.lines * self.line),), self.dot.packed)
            self.sums = T.alloc_buffer((rows * self.tile.columns,), self.dot.accumulate)
            self.rests = Rests(self.dot, self.tiles_high * rows, self.groups) if isinstance(self.dot, ByteDot) else None
            self.once = Once()

            def piece(first_tile: Expr, tiles: Expr, panel: Expr, panels: Expr) -> None:
                row = bind(first_tile * rows)
                self._block(row, bind(tirx.min(self.m - row, tiles * rows)), panel, panels)

            worker.each_block(grid, m_tiles, self.n_panels, piece, high=self.tiles_high, wide=max(1, WIDE // self.tile.columns))

    def _block(self, row: Expr, rows: Expr, first_panel: Expr, panels: Expr) -> None:
        """Emits one block of A times a run of weight panels."""
        # 8 rows are better done as 4 + 4 than as 6 + 2: the shorter a tile, the more it waits for its own sums
        height = bind(rounded(ceil_divide(rows, ceil_divide(rows, self.tile.rows)), self.heights))
        whole = bind(divide(rows, height) * height)
        # a row of sums depends on its own row of A alone: rows of a tile that nothing was copied into give some that nobody reads
        copied = rows if isinstance(self.dot, TileDot) else bind(whole + rounded(rows - whole, self.heights))
        self.once.make(row, lambda: self._pack(row, copied, height))
        tiles = bind(ceil_divide(rows, height))

        def tile(p: Expr, t: Expr) -> None:
            here = bind(tirx.min(rows - t * height, height))
            a = bind(t * (self.tile.rows * self.lines * self.line))
            weights = bind((first_panel + p) * self.panel_elements)
            ahead = self._ahead(weights, t, tiles)
            by_height(here, self.heights, lambda h: self._tile(h, t, a, weights, ahead))
            if self.rests is not None:
                with T.serial(here) as i:
                    self.rests.add(bind(t * self.tile.rows + i), self.panels, weights, self.sums, bind(i * self.tile.columns))
            self._finish(row + t * height, here, first_panel + p)

        if self.beside == 1:
            with T.serial(panels) as p, T.serial(tiles) as t:
                tile(p, t)
            return
        beside = self._beside(tiles)
        with T.serial(bind(ceil_divide(panels, beside))) as group, T.serial(tiles) as t:
            first = bind(group * beside)
            with T.serial(bind(tirx.min(beside, panels - first))) as p:
                tile(first + p, t)

    def _beside(self, tiles: Expr) -> Expr:
        """How many panels a tile of A meets before the next one's turn. The first ones come without having been asked for, which
        takes many tiles to make up for."""
        return i64(1) if self.beside == 1 else bind(tirx.Select(tiles >= MANY, i64(self.beside), i64(1)))

    def _pack(self, row: Expr, rows: Expr, height: Expr) -> None:
        """Copies a block of A as [rows / height, k / line, height, line]; past the end of k it is 0, past that of A
        the last row again."""
        tile_size = self.tile.rows * self.lines * self.line
        with T.serial(rows) as i:
            source = bind(tirx.min(row + i, self.m - 1))
            target = bind(divide(i, height) * tile_size + remainder(i, height) * self.line)

            def copy(line: Expr, step: Expr, inside: Expr | None = None) -> None:
                k = line * self.line + step
                if inside is None:
                    value = self.dot.pack(self.load(source, k))
                else:
                    read = self.dot.pack(self.load(source, tirx.min(k, i64(self.k - 1))))
                    value = tirx.Select(k < inside, read, constant(0, self.dot.packed))
                T.buffer_store(self.packed, value, [target + line * (self.tile.rows * self.line) + step])

            whole, lanes = self.k // self.line, min(self.line, 32)
            with T.serial(i64(whole)) as line:
                for part in range(0, self.line, lanes):
                    with T.vectorized(lanes) as lane:
                        copy(line, part + tirx.Cast("int64", lane))
            if self.k % self.line:
                rest = self._elements - whole * self.line
                with T.serial(i64(rest)) as step:
                    copy(i64(whole), step, i64(self.k))
            if self.rests is not None:
                self._take_rests(self.rests, i, target, height)

    def _take_rests(self, rests: Rests, i: Expr, start: Expr, height: Expr) -> None:
        """Emits what moves rests out of row `i` of a block, which begins at `start`."""
        tile, inside = bind(divide(i, height)), bind(remainder(i, height))
        of_line, chunks = self.line // CHUNK, self._elements // CHUNK

        def place(chunk: Expr) -> Expr:
            return start + divide(chunk, of_line) * (self.tile.rows * self.line) + remainder(chunk, of_line) * CHUNK

        slot = bind(tile * self.tile.rows + inside)
        rests.take(tile, slot, tirx.EQ(inside, i64(0)), self.packed, self.k, chunks, place)

    @property
    def _elements(self) -> int:
        """How much of k a packed row has."""
        elements = self.groups * self.dot.group
        return elements if self.rests is None else -(-elements // CHUNK) * CHUNK

    def _tile(self, rows: int, t: Expr, a: Expr, weights: Expr, ahead: Ahead) -> None:
        """Emits the sums of one tile over all of k, into `sums`, without the rests of A."""
        dot, lanes = self.dot, self.dot.lanes

        def a_line(line: Expr) -> Expr:
            return a + line * (self.tile.rows * self.line)

        def w_line(line: Expr) -> Expr:
            return weights + line * (WORDS * self.tile.columns * dot.group)

        if isinstance(dot, TileDot):
            dot.block(rows // ROWS, self.lines, a_line, w_line, self.packed, self.panels, self.sums,
                      lambda line: ahead.prefetch_run(line * WORDS, WORDS))
            return
        registers = [T.alloc_buffer((rows * lanes,), dot.accumulate) for _ in range(2)]
        zero = tirx.Broadcast(constant(0, dot.accumulate), lanes)
        for v in range(2):
            for i in range(rows):
                start = zero if self.rests is None else tirx.Broadcast(self.rests.starts[t * self.tile.rows + i], lanes)
                T.buffer_store(registers[v], start, [vector_at(i64(i * lanes), lanes)])

        def steps(dot: Dot, line: Expr, count: Expr) -> None:
            first = bind(w_line(line))
            with T.serial(divide(count, dot.deep)) as step:
                group = bind(step * dot.deep)
                for number in range(dot.deep):
                    ahead.prefetch(line * WORDS + group + number)
                for i in range(rows):
                    left = a_line(line) + i * self.line + group * dot.group
                    for v in range(2):
                        right = first + (group * self.tile.columns + v * lanes) * dot.group
                        total = run(registers[v], i64(i * lanes), lanes)
                        T.buffer_store(registers[v], dot.step(total, self.packed, left, self.panels, right),
                                       [vector_at(i64(i * lanes), lanes)])

        def all_steps(dot: Dot) -> None:
            with T.serial(i64(self.groups // WORDS)) as line:
                steps(dot, line, i64(WORDS))
            if self.groups % WORDS:
                steps(dot, i64(self.groups // WORDS), i64(self.groups % WORDS))

        if self.rests is None:
            all_steps(dot)
        else:
            with T.If(self.rests.doubled(t)):
                with T.Then():
                    all_steps(dot)
                with T.Else():
                    all_steps(self.rests.dot)
        for i in range(rows):
            for v in range(2):
                T.buffer_store(self.sums, run(registers[v], i64(i * lanes), lanes),
                               [vector_at(i64(i * self.tile.columns + v * lanes), lanes)])

    def _ahead(self, weights: Expr, t: Expr, tiles: Expr) -> Ahead:
        """What tile `t` of `tiles` prefetches while it uses the panel at `weights`: its share of the next panel, or of the one so
        many panels on as are used beside each other.

        A tile alone reads weights all the time, and prefetches what it needs NEAR bytes on: up to 1.2 times as fast.
        """
        size = SIZE[str(self.panels.dtype)]
        step = self.tile.columns * self.dot.group
        next_share = self._beside(tiles) * self.panel_elements + divide(t * (self.groups * step), tiles)
        start = bind(weights + tirx.Select(tiles > 1, next_share, i64(NEAR // size)))
        places = [start]
        if step * size > CACHE_LINE:
            places.append(bind(start + tirx.Select(tiles > 1, i64(0), i64(CACHE_LINE // size))))
        return Ahead(self.panels, places, bind(ceil_divide(i64(step), tiles)))

    def _finish(self, row: Expr, rows: Expr, panel: Expr) -> None:
        """Hands the sums of one tile to `store`, the weights' padding left out."""
        columns = self.tile.columns
        with T.serial(rows) as i:

            def store(first: Expr, lane: Any) -> None:
                j = first + lane
                self.store(row + i, panel * columns + j, self.sums[i * columns + j])

            each_column_of_panel(panel == self.n_panels - 1, self.n, columns, self.dot.lanes, store)
