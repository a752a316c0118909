"""Both products of an attention in f32, without tensor cores: queries, keys, values and powers are read from shared memory.

Lanes hold what tensor cores would let them hold. Rows are 16 bytes longer than they need to be: what lanes read at once lies in
different banks, or is the same.
"""

from __future__ import annotations

from targets.base.tvm_api import Expr, T, tirx
from targets.codegen.attention import AttentionSpec
from targets.cuda.kernels.attention_fragments import Fragments
from targets.cuda.kernels.attention_tile import AttentionTile, Lanes, padded
from targets.cuda.kernels.device import address, commit_copies, copy, registers, warp_barrier
from targets.cuda.kernels.tile_copy import Lines, Rows

GAP = 4  # floats between two rows


class FloatProducts(Fragments):
    """The products of an attention in f32."""

    word = "float32"

    def __init__(self, spec: AttentionSpec, lanes: Lanes) -> None:
        super().__init__(spec, lanes)
        tile = lanes.tile
        self.k_stride, self.v_stride, self.out_stride, self.p_stride = self.strides(tile, spec.head_dim, spec.value_dim)
        self.q_base = tile.stages * tile.keys * (self.k_stride + self.v_stride)
        self.p_base = self.q_base + tile.queries * self.k_stride
        self.k_base, self.v_base = 0, tile.keys * self.k_stride
        self.left = registers("left4", (4 * tile.rows,), "float32")
        self.right = registers("right4", (4,), "float32")

    @staticmethod
    def strides(tile: AttentionTile, head_dim: int, value_dim: int) -> tuple[int, int, int, int]:
        """Words from one row of keys (or queries), of values, of results, of powers to the next."""
        return padded(head_dim) + GAP, padded(value_dim) + GAP, padded(value_dim) + 2 * GAP, tile.keys + GAP

    @classmethod
    def memory_words(cls, tile: AttentionTile, head_dim: int, value_dim: int) -> int:
        k, v, out, p = cls.strides(tile, head_dim, value_dim)
        return max(tile.stages * tile.keys * (k + v) + tile.queries * (k + p), tile.queries * out)

    def begin(self) -> None:
        spec, tile = self.spec, self.lanes.tile
        first, left = self.lanes.first, tirx.Cast("int32", spec.queries - self.lanes.first)
        rows = Rows(lambda i, d: spec.load_q(spec.b, spec.h, first + i, d), left, spec.head_dim, spec.dtype)
        rows.fill(Lines(self.memory, self.q_base, self.k_stride, tile.queries), tirx.const(0, "int32"), self.lanes)
        commit_copies()
        self.clear()

    @property
    def copied(self) -> bool:
        return True  # queries may be

    def scores(self, slot: Expr) -> None:
        tile, lanes = self.lanes.tile, self.lanes
        self.clear_scores()
        keys = slot * self.slot_words + lanes.pair * self.k_stride + self.k_base
        with T.serial(padded(self.spec.head_dim) // 4) as d4:
            for r in range(tile.rows):
                copy(address(self.left, 4 * r), address(self.memory, lanes.row(r) * self.k_stride + d4 * 4 + self.q_base), 16)
            for n in range(tile.keys // 8):
                for e in range(2):
                    copy(address(self.right, 0), address(self.memory, keys + ((8 * n + e) * self.k_stride) + d4 * 4), 16)
                    for r in range(tile.rows):
                        at, total = self.score(r, n, e), self.s[self.score(r, n, e)]
                        for i in range(4):
                            total = total + self.left[4 * r + i] * self.right[i]
                        T.buffer_store(self.s, total, [at])

    def accumulate(self, slot: Expr) -> None:
        tile, lanes = self.lanes.tile, self.lanes
        for r in range(tile.rows):
            powers = lanes.row(r) * self.p_stride + lanes.pair + self.p_base
            for n in range(tile.keys // 8):
                for e in range(2):
                    T.buffer_store(self.memory, self.s[self.score(r, n, e)], [powers + (8 * n + e)])
        warp_barrier()  # lanes read what others of the warp wrote; the next tile's powers come after a barrier of the block
        values = slot * self.slot_words + lanes.pair + self.v_base
        with T.serial(tile.keys // 4) as j4:
            for r in range(tile.rows):
                copy(address(self.left, 4 * r), address(self.memory, lanes.row(r) * self.p_stride + j4 * 4 + self.p_base), 16)
            for j in range(4):
                for n in range(self.columns // 8):
                    copy(address(self.right, 0), address(self.memory, values + (j4 * 4 + j) * self.v_stride + 8 * n), 8)
                    for r in range(tile.rows):
                        for e in range(2):
                            at = self.out(r, n, e)
                            T.buffer_store(self.o, self.o[at] + self.left[4 * r + j] * self.right[e], [at])

    def put(self, row: Expr, n: int, low: Expr, high: Expr) -> None:
        at = row * self.out_stride + self.lanes.pair + 8 * n
        T.buffer_store(self.memory, low, [at])
        T.buffer_store(self.memory, high, [at + 1])

    def get(self, row: Expr, d: Expr) -> Expr:
        return self.memory[row * self.out_stride + d]
