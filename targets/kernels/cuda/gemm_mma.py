"""Products of half precisions on tensor cores: a block of threads computes a tile of sums, each warp a part of it by `mma.sync`.

The operands come by asynchronous copies through a ring of blocks in shared memory. Fragments of the next step are read while this
one is multiplied, across the ring's barrier too. Small tiles are also cut along k: each warp sums every so many steps of k, and
the parts are added in one order at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from targets.kernels.cuda import device
from targets.kernels.cuda.launch import ceil_divide, int32, rounds_of, tiles
from targets.kernels.cuda.operand import SIZE, Blocks, block_memory
from targets.kernels.cuda.product import Product
from targets.kernels.cuda.staged import Staged
from targets.kernels.vector_math import constant
from targets.tvm_api import Buffer, Expr, T, int64, tirx

M, N, K = 16, 8, 16  # of one mma


@dataclass(frozen=True)
class TensorTile:
    """rows x columns sums a block; `depth` steps of k a stage; warps along rows, columns and k; `stages` of the ring (2^n)."""

    rows: int
    columns: int
    depth: int
    warps: tuple[int, int, int]
    stages: int

    @property
    def threads(self) -> int:
        return device.WARP * self.warps[0] * self.warps[1] * self.warps[2]

    @property
    def shared_bytes(self) -> int:
        """The ring, and later in its place the sums."""
        ring = self.stages * (self.rows + self.columns) * self.depth * SIZE["float16"]
        return max(ring, Staged.elements(self.rows, self.columns, self.warps[2]) * SIZE["float32"])


class TensorProduct:
    """The kernel of one tile size."""

    def __init__(self, product: Product, tile: TensorTile) -> None:
        self.product, self.tile = product, tile
        self.high, self.wide = tile.rows // tile.warps[0] // M, tile.columns // tile.warps[1] // N  # mma tiles of a warp
        self.steps = tile.depth // K // tile.warps[2]  # of a warp, in one stage
        assert self.wide % 2 == 0 and self.steps >= 2

    def emit(self) -> None:
        product, tile = self.product, self.tile
        rows, columns = ceil_divide(product.m, tile.rows), ceil_divide(product.n, tile.columns)
        with tiles(product.batches, rows, columns, tile.threads) as (batch, row, column, thread):
            memory, sums = block_memory(tile.shared_bytes, product.x.dtype, product.accumulate)
            self.x = Blocks(product.x, tile.rows, tile.depth, memory, 0)
            self.w = Blocks(product.w, tile.columns, tile.depth, memory, tile.stages * tile.rows * tile.depth)
            self.a = device.registers("a", (2 * self.high * 4,), "uint32")
            self.b = device.registers("b", (2 * self.wide * 2,), "uint32")
            self.sums = device.registers("sums", (self.high * self.wide * 4,), "float32")
            self.batch, self.row, self.column = batch, row * int64(tile.rows), column * int64(tile.columns)
            self.thread = thread
            warp, self.lane = tirx.floordiv(thread, device.WARP), tirx.floormod(thread, device.WARP)
            down, across = tile.warps[0], tile.warps[1]
            self.warp_k = tirx.floordiv(warp, down * across)
            self.warp_row = tirx.floormod(tirx.floordiv(warp, across), down) * (self.high * M)
            self.warp_column = tirx.floormod(warp, across) * (self.wide * N)
            self.x.begin(batch, self.row, thread, tile.threads)
            self.w.begin(batch, self.column, thread, tile.threads)
            self._multiply()
            self._finish(sums)

    def _multiply(self) -> None:
        """The ring: while stage t is multiplied, t + 1 is complete and those up to t + stages - 1 are on their way."""
        tile, product = self.tile, self.product
        ahead = tile.stages - 1
        rounds = rounds_of(product.k, tile.depth)
        for stage in range(ahead):
            self._fill(int32(stage), rounds)
        with T.unroll(int32(self.high * self.wide * 4)) as i:
            T.buffer_store(self.sums, constant(0, "float32"), [i])
        device.wait_copies(ahead - 1)
        device.barrier()
        self._read(int32(0), 0)
        with T.serial(rounds) as t:
            for step in range(self.steps):
                following = t if step + 1 < self.steps else t + 1
                if step + 1 == self.steps:
                    device.wait_copies(ahead - 1)
                    device.barrier()
                self._read(following, (step + 1) % self.steps)
                if step == 0:
                    self._fill(t + ahead, rounds)
                self._mma(step % 2)

    def _slot(self, stage: Expr) -> Expr:
        return tirx.bitwise_and(stage, int32(self.tile.stages - 1))

    def _fill(self, stage: Expr, rounds: Expr) -> None:
        """Begins to copy a stage, if there is one; a group of copies is counted anyway."""
        tile = self.tile
        with T.If(stage < rounds), T.Then():
            step = tirx.Cast("int64", stage) * int64(tile.depth)
            for blocks in (self.x, self.w):
                blocks.fill(self._slot(stage), step)
        device.commit_copies()

    def _read(self, stage: Expr, step: int) -> None:
        """The fragments of one step of k, in registers of their own for even and odd steps."""
        slot, even = self._slot(stage), step % 2
        k = (self.warp_k * self.steps + step) * K
        with T.unroll(int32(self.high)) as i:
            at = self._matrices(self.x, slot, self.warp_row + i * M, k, by_row=True)
            device.load_matrices(device.address(self.a, (even * self.high + i) * 4), at, 4, transposed=not self.x.operand.along_k)
        with T.unroll(int32(self.wide // 2)) as j:
            at = self._matrices(self.w, slot, self.warp_column + j * (2 * N), k, by_row=False)
            device.load_matrices(device.address(self.b, (even * self.wide + j * 2) * 2), at, 4,
                                 transposed=not self.w.operand.along_k)

    def _matrices(self, blocks: Blocks, slot: Expr, row: Expr, k: Expr, by_row: bool) -> Expr:
        """Where this lane's line of a 16 x 16 part lies: its 8 x 8 matrices follow each other down rows first (`by_row`), or
        along k first. A line of a matrix runs along k, or of a transposed one along rows."""
        line, matrix = tirx.floormod(self.lane, 8), tirx.floordiv(self.lane, 8)
        low, high = tirx.floormod(matrix, 2) * 8, tirx.floordiv(matrix, 2) * 8
        down, along = (low, high) if by_row else (high, low)
        down, along = (down + line, along) if blocks.operand.along_k else (down, along + line)
        return device.address(blocks.memory, blocks.at(slot, row + down, k + along))

    def _mma(self, even: int) -> None:
        with T.unroll(int32(self.high)) as i, T.unroll(int32(self.wide)) as j:
            device.mma(device.address(self.sums, (i * self.wide + j) * 4), device.address(self.a, (even * self.high + i) * 4),
                       device.address(self.b, (even * self.wide + j) * 2), self.product.x.dtype)

    def _finish(self, memory: Buffer) -> None:
        """Brings the sums into the order of rows through shared memory, and stores them."""
        tile = self.tile
        staged = Staged(memory, tile.rows, tile.columns, tile.warps[2])
        device.wait_copies(0)
        device.barrier()
        group, pair = tirx.floordiv(self.lane, 4), tirx.floormod(self.lane, 4) * 2
        with T.unroll(int32(self.high)) as i, T.unroll(int32(self.wide)) as j, T.unroll(int32(2)) as half:
            at = staged.at(self.warp_row + i * M + half * 8 + group, self.warp_column + j * N + pair, self.warp_k)
            with T.vectorized(2) as v:
                T.buffer_store(memory, self.sums[(i * self.wide + j) * 4 + half * 2 + v], [at + v])
        device.barrier()
        staged.store(self.product, self.batch, self.row, self.column, self.thread, tile.threads)
