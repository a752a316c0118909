"""Both products of an attention in half precision, on tensor cores; queries and powers stay in registers.

Rows in shared memory are 16 bytes longer than they need to be, so that the 8 rows that ldmatrix reads at once lie in different
banks.
"""

from __future__ import annotations

from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.attention import AttentionSpec
from targets.cuda.kernels.adjacent import adjacent, stored_element
from targets.cuda.kernels.attention_fragments import Fragments
from targets.cuda.kernels.attention_tile import AttentionTile, Lanes, padded
from targets.cuda.kernels.device import address, copy, load_matrices, mma, pack, registers
from targets.cuda.kernels.tile_copy import Rows, half_of

GAP = 4  # words between two rows


class TensorProducts(Fragments):
    """The products of an attention in f16 and bf16."""

    word = "uint32"

    def __init__(self, spec: AttentionSpec, lanes: Lanes) -> None:
        super().__init__(spec, lanes)
        self.depth = padded(spec.head_dim) // 16
        self.k_stride, self.v_stride, self.out_stride = self.strides(spec.head_dim, spec.value_dim)
        self.k_base, self.v_base = 0, lanes.tile.keys * self.k_stride
        self.q = registers("q", (lanes.tile.panels * self.depth * 4,), "uint32")
        self.matrix = registers("matrix", (4,), "uint32")
        self.power = registers("power", (4 * lanes.tile.panels,), "uint32")

    @staticmethod
    def strides(head_dim: int, value_dim: int) -> tuple[int, int, int]:
        """Words from one row of keys, of values, of results to the next."""
        k, v = (padded(dim) // 2 + GAP for dim in (head_dim, value_dim))
        return k, v, v

    @classmethod
    def memory_words(cls, tile: AttentionTile, head_dim: int, value_dim: int) -> int:
        k, v, out = cls.strides(head_dim, value_dim)
        return max(tile.stages * tile.keys * (k + v), tile.queries * out)

    def begin(self) -> None:
        """Reads the queries and clears the sums."""
        spec, lanes = self.spec, self.lanes
        load = lambda i, d: spec.load_q(spec.b, spec.h, i, d)
        rows = Rows(load, tirx.Cast("int32", spec.queries), spec.head_dim, spec.dtype)
        i = tirx.Var("i", "int64")
        plain = spec.head_dim % 2 == 0 and adjacent(lambda d: load(i, d), 2, spec.dtype)
        for r in range(lanes.tile.rows):
            query = tirx.Min(lanes.query(r), spec.queries - int64(1))
            for step in range(2 * self.depth):  # 8 elements of depth each
                at, word = ((r // 2) * self.depth + step // 2) * 4 + step % 2 * 2 + r % 2, lanes.pair // 2 + 4 * step
                if plain and 8 * step + 8 <= spec.head_dim:
                    element = stored_element(load(query, tirx.Cast("int64", word) * int64(2)))
                    copy(address(self.q, at), tirx.address_of(element), 4)
                else:
                    T.buffer_store(self.q, rows.word(tirx.Cast("int32", query), word), [at])
        self.clear()

    def scores(self, slot: Expr) -> None:
        """S = Q K^T with the keys in a slot."""
        tile, lane = self.lanes.tile, self.lanes.lane
        self.clear_scores()
        row = lane % 8 + lane // 16 * 8  # matrices: keys 0-7 at k 0-7, the same at k 8-15, keys 8-15 at both
        at = slot * self.slot_words + row * self.k_stride + lane // 8 % 2 * 4 + self.k_base
        for kk in range(self.depth):
            for n in range(0, tile.keys // 8, 2):
                load_matrices(address(self.matrix, 0), address(self.memory, at + (8 * n * self.k_stride + 8 * kk)), 4)
                for m in range(tile.panels):
                    for i in range(2):
                        mma(address(self.s, self.score(2 * m, n + i, 0)), address(self.q, (m * self.depth + kk) * 4),
                            address(self.matrix, 2 * i), self.spec.dtype)

    def accumulate(self, slot: Expr) -> None:
        """O += P V with the values in a slot; the scores have become P."""
        tile, lane = self.lanes.tile, self.lanes.lane
        row = lane % 16  # matrices: keys 0-7 at d 0-7, keys 8-15 there, and both at d 8-15
        at = slot * self.slot_words + row * self.v_stride + lane // 16 * 4 + self.v_base
        for kk in range(tile.keys // 16):
            for m in range(tile.panels):
                for i in range(4):
                    low, high = (self.s[self.score(2 * m + i % 2, 2 * kk + i // 2, e)] for e in range(2))
                    T.buffer_store(self.power, pack(low, high, self.spec.dtype), [4 * m + i])
            for n in range(0, self.columns // 8, 2):
                load_matrices(address(self.matrix, 0), address(self.memory, at + (16 * kk * self.v_stride + 4 * n)), 4, True)
                for m in range(tile.panels):
                    for i in range(2):
                        mma(address(self.o, self.out(2 * m, n + i, 0)), address(self.power, 4 * m), address(self.matrix, 2 * i),
                            self.spec.dtype)

    def put(self, row: Expr, n: int, low: Expr, high: Expr) -> None:
        """Two neighbouring results of a row of the block go to shared memory."""
        word = row * self.out_stride + self.lanes.pair // 2 + 4 * n
        T.buffer_store(self.memory, pack(low, high, self.spec.dtype), [word])

    def get(self, row: Expr, d: Expr) -> Expr:
        """A result from there, as f32."""
        word = self.memory[row * self.out_stride + d // 2]
        return half_of(word, tirx.EQ(d % 2, 1), self.spec.dtype)
