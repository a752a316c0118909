"""The register tile of a matrix product: its size for a CPU, and the loop over k that fills it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.cpu.kernels.prefetch import prefetch
from targets.cpu.kernels.register_tile import RegisterTile
from targets.cpu.kernels.weights import Read
from targets.cpu.kernels.workers import ceil_divide, divide, i64, remainder

CACHE_LINE = 64
SIZE = {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class GemmTile:
    """Blocking of a product: `rows` x `columns` sums in registers, `m_block` x `k_block` elements of A in L2.

    `columns` is two vectors, and the width of a weight panel. A tile's sums are held as two buffers, each of which must
    stay under 1,024 bytes (TVM keeps no larger one in registers).
    """

    rows: int
    columns: int
    k_block: int
    m_block: int
    n_block: int = 384  # columns of a piece that is cut by columns: whose sums are kept where k takes several blocks
    rounding: ClassVar = ()  # fields that change how sums are rounded: none, since a sum runs over k in one order

    def variants(self) -> dict[str, list[int]]:
        """Other values of each field that may be faster on some machine."""
        return {
            "k_block": [256, 384, 512, 768, 1024, 1536],
            "m_block": [self.rows * n for n in (4, 8, 12, 16, 24, 40)],
            "n_block": [self.columns * n for n in (4, 12, 24, 48)],
        }

    @property
    def lanes(self) -> int:
        """Elements of one vector."""
        return self.columns // 2

    @classmethod
    def for_target(
        cls, vector_bits: int, vector_registers: int, l1_bytes: int, l2_bytes: int, dtype: str = "float32"
    ) -> GemmTile:
        """The tile for a CPU (cache sizes in bytes, a core's own) whose sums are of `dtype` (halves: f32)."""
        size = max(4, SIZE[dtype])
        columns = 2 * vector_bits // (8 * size)
        # two vectors of weights and one or two broadcast elements of A stay outside the tile
        rows = min(12, (vector_registers - 4) // 2)
        # The slice of a weight panel may exceed L1: it streams from L2, where it and the block of A must fit. Longer
        # slices than this gain nothing, and shorter ones store and reload the sums more often.
        panel_row = columns * size
        k_block = min(768, max(l2_bytes // 8, l1_bytes // 2) // panel_row) // 16 * 16
        m_block = 3 * l2_bytes // 8 // (k_block * size) // rows * rows
        return cls(rows, columns, k_block, max(rows, min(m_block, 240)))


@dataclass(frozen=True)
class Ahead:
    """Weights that a tile prefetches while it computes: at step k the lines at `places` + k `advance` of `panels`.

    A little at every step, so that memory is read evenly all the time and its own prefetching is not disturbed: a Zen 4 that was
    asked in bursts, for four panels side by side, took 1.1 to 1.7 times as long for up to 20 rows.
    """

    panels: Any
    places: Sequence[Expr]
    advance: Expr

    def prefetch(self, step: Expr) -> None:
        """Emits what is asked for at a step; past the end of the weights this does nothing."""
        for place in self.places:
            prefetch(self.panels[place + step * self.advance])

    def prefetch_run(self, step: Expr, count: int) -> None:
        """Emits what is asked for at `count` steps from `step` on, all at once."""
        elements = CACHE_LINE // SIZE[str(self.panels.dtype)]
        first = bind(self.places[0] + step * self.advance)
        with T.serial(ceil_divide(count * self.advance, i64(elements))) as line:
            prefetch(self.panels[first + line * elements])


@dataclass(frozen=True)
class TileLoop:
    """The loop over k of one product's tiles: on packed A and weights in panels, into `sums`.

    Packed A is [rows / height, k / line, height, line] with a line of 64 bytes: one stream for the prefetcher, and all
    rows of a step at constant distances. `sums` is a buffer of row-major [rows, columns] tiles.
    """

    tile: GemmTile
    packed: Any
    sums: Any
    accumulate: str
    separate: bool = False  # whether each block of k is summed by itself, and then added to those before it

    @property
    def line(self) -> int:
        """Elements of A per row before the next row follows."""
        return CACHE_LINE // SIZE[self.accumulate]

    def emit(
        self, rows: int, a: Expr, weights: Read, sums: Expr, depth: Expr, resume: Expr | None, ragged: bool,
        ahead: Ahead | None,
    ) -> None:  # fmt: skip
        """Adds `depth` steps of k to a tile of `rows` rows and writes it to `sums`.

        `a` and `sums` are where the tile's A and sums begin, `weights` reads its weights. Where `resume` (None: never) is
        true the tile starts from `sums`, else from zero. `ragged` says that `depth` may not be a multiple of `line`. `ahead`:
        what to ask for meanwhile.
        """

        def steps(tile: RegisterTile) -> None:
            groups = divide(depth, self.line)
            with T.serial(groups) as group:
                self.steps(tile, a, weights, group, i64(self.line), ahead)
            if ragged:
                self.steps(tile, a, weights, groups, remainder(depth, self.line), ahead)

        self.between_sums(rows, sums, resume, steps)

    def between_sums(self, rows: int, sums: Expr, resume: Expr | None, steps: Callable[[RegisterTile], None]) -> None:
        """Loads a tile from `sums` (zeros, unless `resume`), hands it to `steps`, and writes it back."""
        tile = RegisterTile(rows, self.tile.lanes, self.accumulate)

        def at(i: Any, v: int, lane: Any) -> Expr:
            return sums + i * self.tile.columns + v * tile.lanes + lane

        def before(i: Any, v: int, lane: Any) -> Expr:
            return self.sums[at(i, v, lane)]

        tile.start(None if self.separate else resume, before)
        steps(tile)
        if self.separate and resume is not None:
            with T.If(resume), T.Then():
                tile.add(before)
        tile.each(lambda i, v, lane: T.buffer_store(self.sums, tile[i, v, lane], [at(i, v, lane)]))

    def steps(self, tile: RegisterTile, a: Expr, weights: Read, group: Expr, count: Expr, ahead: Ahead | None) -> None:
        """Adds `count` steps of k, within line `group` of A, to a tile."""
        with T.serial(count) as step:
            if ahead is not None:
                ahead.prefetch(group * self.line + step)

            def product(i: Any, v: int, lane: Any) -> Expr:
                left = self.packed[a + group * (self.tile.rows * self.line) + i * self.line + step]
                return left * weights(group * self.line + step, v * self.tile.lanes + lane)

            tile.add(product)
