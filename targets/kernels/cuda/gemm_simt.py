"""Products without tensor cores: each thread keeps a tile of sums in registers and multiplies elements one by one.

The operands come through the same ring of blocks as in `gemm_mma`, 64 bytes of k a stage. A thread's rows (columns) lie apart by
the number of threads beside each other, so that the pieces of 16 bytes that a warp reads at once lie in different banks.
"""

from __future__ import annotations

from dataclasses import dataclass

from targets.kernels.cuda import device
from targets.kernels.cuda.launch import ceil_divide, int32, rounds_of, tiles
from targets.kernels.cuda.operand import PIECE, SIZE, Blocks, block_memory
from targets.kernels.cuda.product import Product
from targets.kernels.cuda.staged import Staged
from targets.kernels.vector_math import constant
from targets.tvm_api import Buffer, Expr, T, int64, tirx

STAGES = 4
DEPTH_BYTES = 64  # of k in a stage
LANES = 4, 8  # how the threads of a warp lie in a tile


@dataclass(frozen=True)
class ThreadTile:
    """rows x columns sums a block, by `down` x `across` threads (multiples of 4 and 8)."""

    rows: int
    columns: int
    down: int
    across: int

    @property
    def threads(self) -> int:
        return self.down * self.across


class _Side:
    """The part of one operand that a thread reads: `count` rows out of those that `threads` threads share."""

    def __init__(self, blocks: Blocks, position: Expr, threads: int, name: str) -> None:
        self.blocks, self.position, self.threads = blocks, position, threads
        self.count = blocks.tile_rows // threads
        self.vector = min(PIECE // SIZE[blocks.operand.dtype], 4)
        self.registers = device.registers(name, (self.count * self.vector,), blocks.operand.dtype)

    def row(self, number: Expr) -> Expr:
        """The row of the block that is number `number` of this thread."""
        if self.blocks.operand.along_k:
            return self.position + number * self.threads
        group = tirx.floordiv(number, self.vector) * self.threads + self.position
        return group * self.vector + tirx.floormod(number, self.vector)

    def read(self, slot: Expr, k: Expr) -> None:
        """Reads the rows at `vector` steps of k, in vectors."""
        blocks, width = self.blocks, self.vector
        if blocks.operand.along_k:
            with T.unroll(int32(self.count)) as i:
                self._vector(i * width, blocks.at(slot, self.row(i), k))
        else:
            with T.unroll(int32(width)) as step, T.unroll(int32(self.count // width)) as i:
                self._vector(step * self.count + i * width, blocks.at(slot, self.row(i * width), k + step))

    def _vector(self, to: Expr, source: Expr) -> None:
        with T.vectorized(self.vector) as v:
            T.buffer_store(self.registers, self.blocks.memory[source + v], [to + v])

    def __getitem__(self, at: tuple[Expr, Expr]) -> Expr:
        number, step = at
        return self.registers[number * self.vector + step if self.blocks.operand.along_k else step * self.count + number]


class ThreadProduct:
    """The kernel of one tile size."""

    def __init__(self, product: Product, tile: ThreadTile) -> None:
        self.product, self.tile = product, tile
        self.depth = DEPTH_BYTES // SIZE[product.x.dtype]

    @property
    def shared_bytes(self) -> int:
        """The ring, and later in its place the sums."""
        tile = self.tile
        sums = Staged.elements(tile.rows, tile.columns) * SIZE[self.product.accumulate]
        return max(STAGES * (tile.rows + tile.columns) * DEPTH_BYTES, sums)

    def emit(self) -> None:
        product, tile, dtype = self.product, self.tile, self.product.x.dtype
        rows, columns = ceil_divide(product.m, tile.rows), ceil_divide(product.n, tile.columns)
        with tiles(product.batches, rows, columns, tile.threads) as (batch, row, column, thread):
            memory, sums = block_memory(self.shared_bytes, dtype, product.accumulate)
            self.batch, self.row, self.column = batch, row * int64(tile.rows), column * int64(tile.columns)
            self.thread = thread
            warp, lane = tirx.floordiv(thread, device.WARP), tirx.floormod(thread, device.WARP)
            warps = tile.across // LANES[1]
            down = tirx.floordiv(warp, warps) * LANES[0] + tirx.floordiv(lane, LANES[1])
            across = tirx.floormod(warp, warps) * LANES[1] + tirx.floormod(lane, LANES[1])
            after_x = STAGES * tile.rows * self.depth
            self.x = _Side(Blocks(product.x, tile.rows, self.depth, memory, 0), down, tile.down, "a")
            self.w = _Side(Blocks(product.w, tile.columns, self.depth, memory, after_x), across, tile.across, "b")
            self.sums = device.registers("sums", (self.x.count * self.w.count,), product.accumulate)
            self.x.blocks.begin(batch, self.row, thread, tile.threads)
            self.w.blocks.begin(batch, self.column, thread, tile.threads)
            self._multiply()
            self._finish(sums)

    def _multiply(self) -> None:
        rounds, ahead = rounds_of(self.product.k, self.depth), STAGES - 1
        for stage in range(ahead):
            self._fill(int32(stage), rounds)
        with T.unroll(int32(self.x.count * self.w.count)) as i:
            T.buffer_store(self.sums, constant(0, self.product.accumulate), [i])
        with T.serial(rounds) as t:
            device.wait_copies(ahead - 1)
            device.barrier()
            self._fill(t + ahead, rounds)
            with T.unroll(int32(self.depth // self.x.vector)) as part:
                for side in (self.x, self.w):
                    side.read(self._slot(t), part * side.vector)
                self._add()

    def _slot(self, stage: Expr) -> Expr:
        return tirx.bitwise_and(stage, int32(STAGES - 1))

    def _fill(self, stage: Expr, rounds: Expr) -> None:
        """Begins to copy a stage, if there is one; a group of copies is counted anyway."""
        with T.If(stage < rounds), T.Then():
            step = tirx.Cast("int64", stage) * int64(self.depth)
            for side in (self.x, self.w):
                side.blocks.fill(self._slot(stage), step)
        device.commit_copies()

    def _add(self) -> None:
        with T.unroll(int32(self.x.vector)) as step, T.unroll(int32(self.x.count)) as i, T.unroll(int32(self.w.count)) as j:
            at = i * self.w.count + j
            T.buffer_store(self.sums, self.sums[at] + self.x[i, step] * self.w[j, step], [at])

    def _finish(self, memory: Buffer) -> None:
        staged = Staged(memory, self.tile.rows, self.tile.columns)
        device.wait_copies(0)
        device.barrier()
        with T.unroll(int32(self.x.count)) as i, T.unroll(int32(self.w.count)) as j:
            T.buffer_store(memory, self.sums[i * self.w.count + j], [staged.at(self.x.row(i), self.w.row(j))])
        device.barrier()
        staged.store(self.product, self.batch, self.row, self.column, self.thread, self.tile.threads)
