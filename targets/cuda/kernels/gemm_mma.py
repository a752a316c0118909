"""Products of half precisions on tensor cores: a block of threads computes a tile of sums, each warp a part, by `mma.sync`.

The operands come by asynchronous copies through a ring of stages in shared memory. Fragments of the next step are read while
this one is multiplied, across the ring's barrier too. Small tiles are also cut along k: each warp sums every so many steps,
and the parts are added in one order at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from targets.base.tvm_api import Expr, T, tirx
from targets.codegen.vector_math import constant
from targets.cuda.kernels import device
from targets.cuda.kernels.launch import int32, tiles
from targets.cuda.kernels.operand import Blocks
from targets.cuda.kernels.product import Product
from targets.cuda.kernels.ring import Ring

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


class TensorProduct:
    """The kernel of one tile size."""

    def __init__(self, product: Product, tile: TensorTile) -> None:
        self.product, self.tile = product, tile
        self.high, self.wide = tile.rows // tile.warps[0] // M, tile.columns // tile.warps[1] // N  # mma tiles of a warp
        self.steps = tile.depth // K // tile.warps[2]  # of a warp, in one stage
        assert self.wide % 2 == 0 and self.steps >= 2

    def emit(self) -> None:
        """Emits the launch."""
        product, tile = self.product, self.tile
        shape = (tile.rows, tile.columns)
        with tiles(product.batches, product.m, product.n, shape, tile.threads) as place:
            self.ring = Ring(product, place, shape, tile.depth, tile.stages, tile.warps[2])
            self.a = device.registers("a", (2 * self.high * 4,), "uint32")
            self.b = device.registers("b", (2 * self.wide * 2,), "uint32")
            self.sums = device.registers("sums", (self.high * self.wide * 4,), "float32")
            down, across = tile.warps[0], tile.warps[1]
            self.lane, warp = place.lane, place.warp
            self.warp_k = tirx.floordiv(warp, down * across)
            self.warp_row = tirx.floormod(tirx.floordiv(warp, across), down) * (self.high * M)
            self.warp_column = tirx.floormod(warp, across) * (self.wide * N)
            self._multiply()
            self.ring.end()
            self._stage()
            device.barrier()
            self.ring.staged.store(product, place)

    def _multiply(self) -> None:
        """While stage t is multiplied, t + 1 is complete, and those up to t + stages - 1 are on their way."""
        ring = self.ring
        ring.start()
        with T.unroll(int32(self.high * self.wide * 4)) as i:
            T.buffer_store(self.sums, constant(0, "float32"), [i])
        ring.arrive()
        self._read(int32(0), 0)
        with T.serial(ring.rounds) as t:
            for step in range(self.steps):
                last = step + 1 == self.steps
                if last:
                    ring.arrive()
                self._read(t + 1 if last else t, (step + 1) % self.steps)
                if step == 0:
                    ring.fill(t + ring.ahead)
                self._mma(step % 2)

    def _read(self, stage: Expr, step: int) -> None:
        """The fragments of one step of k, in registers of their own for even and odd steps."""
        x, w, slot, even = self.ring.x, self.ring.w, self.ring.slot(stage), step % 2
        k = (self.warp_k * self.steps + step) * K
        with T.unroll(int32(self.high)) as i:
            source = self._matrices(x, slot, self.warp_row + i * M, k, down_first=True)
            device.load_matrices(device.address(self.a, (even * self.high + i) * 4), source, 4, not x.operand.along_k)
        with T.unroll(int32(self.wide // 2)) as j:
            source = self._matrices(w, slot, self.warp_column + j * (2 * N), k, down_first=False)
            device.load_matrices(device.address(self.b, (even * self.wide + j * 2) * 2), source, 4, not w.operand.along_k)

    def _matrices(self, blocks: Blocks, slot: Expr, row: Expr, k: Expr, down_first: bool) -> Expr:
        """The address of this lane's line of a part of 16 x 16, the second of whose 8 x 8 matrices lies below the first
        (`down_first`) or beside it. Lines run along k, or where they run along rows, the matrices are transposed."""
        line, matrix = tirx.floormod(self.lane, 8), tirx.floordiv(self.lane, 8)
        low, high = tirx.floormod(matrix, 2) * 8, tirx.floordiv(matrix, 2) * 8
        down, along = (low, high) if down_first else (high, low)
        down, along = (down + line, along) if blocks.operand.along_k else (down, along + line)
        return device.address(blocks.memory, blocks.at(slot, row + down, k + along))

    def _mma(self, even: int) -> None:
        with T.unroll(int32(self.high)) as i, T.unroll(int32(self.wide)) as j:
            device.mma(device.address(self.sums, (i * self.wide + j) * 4), device.address(self.a, (even * self.high + i) * 4),
                       device.address(self.b, (even * self.wide + j) * 2), self.product.x.dtype)

    def _stage(self) -> None:
        """Writes the sums, which lie as `mma` leaves them, to shared memory."""
        staged = self.ring.staged
        group, pair = tirx.floordiv(self.lane, 4), tirx.floormod(self.lane, 4) * 2
        with T.unroll(int32(self.high)) as i, T.unroll(int32(self.wide)) as j, T.unroll(int32(2)) as half:
            at = staged.at(self.warp_row + i * M + half * 8 + group, self.warp_column + j * N + pair, self.warp_k)
            with T.vectorized(2) as v:
                T.buffer_store(staged.memory, self.sums[(i * self.wide + j) * 4 + half * 2 + v], [at + v])
