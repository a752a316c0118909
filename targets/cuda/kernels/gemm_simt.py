"""Products without tensor cores: each thread keeps a tile of sums in registers and multiplies elements one by one.

The operands come through the same ring of stages as in `gemm_mma`. A thread's rows (columns) lie apart by the number of threads
beside each other, so that the pieces of 16 bytes that a warp reads at once lie in different banks.
"""

from __future__ import annotations

from dataclasses import dataclass

from targets.base.tvm_api import Expr, T, tirx
from targets.codegen.vector_math import constant
from targets.cuda.kernels import device
from targets.cuda.kernels.launch import int32, tiles
from targets.cuda.kernels.operand import PIECE, SIZE, Blocks
from targets.cuda.kernels.product import Product
from targets.cuda.kernels.ring import Ring

STAGES = 4
DEPTH_BYTES, DEPTH = 64, 16  # of k in a stage, or elements if those are less
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
        self.depth = min(DEPTH, DEPTH_BYTES // SIZE[product.x.dtype])

    def emit(self) -> None:
        """Emits the launch."""
        product, tile = self.product, self.tile
        shape = (tile.rows, tile.columns)
        with tiles(product.batches, product.m, product.n, shape, tile.threads) as place:
            self.ring = Ring(product, place, shape, self.depth, STAGES)
            warps = tile.across // LANES[1]
            down = tirx.floordiv(place.warp, warps) * LANES[0] + tirx.floordiv(place.lane, LANES[1])
            across = tirx.floormod(place.warp, warps) * LANES[1] + tirx.floormod(place.lane, LANES[1])
            self.x, self.w = _Side(self.ring.x, down, tile.down, "a"), _Side(self.ring.w, across, tile.across, "b")
            self.sums = device.registers("sums", (self.x.count * self.w.count,), product.accumulate)
            self._multiply()
            self.ring.end()
            self._stage()
            device.barrier()
            self.ring.staged.store(product, place)

    def _multiply(self) -> None:
        ring = self.ring
        ring.start()
        with T.unroll(int32(self.x.count * self.w.count)) as i:
            T.buffer_store(self.sums, constant(0, self.product.accumulate), [i])
        with T.serial(ring.rounds) as t:
            ring.arrive()
            ring.fill(t + ring.ahead)
            with T.unroll(int32(self.depth // self.x.vector)) as part:
                for side in (self.x, self.w):
                    side.read(ring.slot(t), part * side.vector)
                self._add()

    def _add(self) -> None:
        with T.unroll(int32(self.x.vector)) as step, T.unroll(int32(self.x.count)) as i, T.unroll(int32(self.w.count)) as j:
            at = i * self.w.count + j
            T.buffer_store(self.sums, self.sums[at] + self.x[i, step] * self.w[j, step], [at])

    def _stage(self) -> None:
        """Writes the sums to shared memory."""
        staged = self.ring.staged
        with T.unroll(int32(self.x.count)) as i, T.unroll(int32(self.w.count)) as j:
            T.buffer_store(staged.memory, self.sums[i * self.w.count + j], [staged.at(self.x.row(i), self.w.row(j))])
