"""The state of an attention kernel's two products: sums in registers, as tensor cores lay them out, and shared memory."""

from __future__ import annotations

from abc import ABC, abstractmethod

from targets.base.tvm_api import Expr, T
from targets.codegen.attention import AttentionSpec
from targets.codegen.vector_math import f32
from targets.cuda.kernels.attention_tile import AttentionTile, Lanes, key_count, key_head, padded
from targets.cuda.kernels.device import registers, shared
from targets.cuda.kernels.tile_copy import Lines, Rows

STATIC_BYTES = 40 * 1024  # of 48 KiB that need no leave; small arrays need some too


def key_rows(spec: AttentionSpec) -> Rows:
    """The keys of a head."""
    return Rows(lambda j, d: spec.load_k(spec.b, key_head(spec), j, d), key_count(spec), spec.head_dim, spec.dtype)


def value_rows(spec: AttentionSpec) -> Rows:
    """The values of a head."""
    return Rows(lambda j, d: spec.load_v(spec.b, key_head(spec), j, d), key_count(spec), spec.value_dim, spec.dtype)


class Fragments(ABC):
    """Both products of a block. s: scores of a warp's queries with a tile of keys; o: the queries' results; both f32.

    Shared memory holds `stages` slots of keys and values, and the results at the end.
    """

    word: str  # the type of what is in shared memory
    k_stride: int
    v_stride: int
    out_stride: int
    k_base: int
    v_base: int

    def __init__(self, spec: AttentionSpec, lanes: Lanes) -> None:
        tile = lanes.tile
        self.spec, self.lanes, self.columns = spec, lanes, padded(spec.value_dim)
        words = self.memory_words(tile, spec.head_dim, spec.value_dim)
        self.memory = shared("memory", (words,), self.word, dynamic=4 * words > STATIC_BYTES)
        self.s = registers("s", (tile.panels * tile.keys // 8 * 4,), "float32")
        self.o = registers("o", (tile.panels * self.columns // 8 * 4,), "float32")
        self.k, self.v = key_rows(spec), value_rows(spec)

    @property
    def slot_words(self) -> int:
        """Words of the keys and values of one tile."""
        return self.lanes.tile.keys * (self.k_stride + self.v_stride)

    @property
    def copied(self) -> bool:
        """Whether fetching goes on while the block computes."""
        return self.k.copied or self.v.copied

    def score(self, row: int, n: int, e: int) -> int:
        """Where s has column e of a lane's two, of the n-th 8 keys, in its row `row`."""
        return (row // 2 * (self.lanes.tile.keys // 8) + n) * 4 + row % 2 * 2 + e

    def out(self, row: int, n: int, e: int) -> int:
        """The same for o."""
        return (row // 2 * (self.columns // 8) + n) * 4 + row % 2 * 2 + e

    def clear(self) -> None:
        """Sets all results to 0."""
        with T.unroll(self.lanes.tile.rows * self.columns // 4) as i:
            T.buffer_store(self.o, f32(0.0), [i])

    def clear_scores(self) -> None:
        with T.unroll(self.lanes.tile.rows * self.lanes.tile.keys // 4) as i:
            T.buffer_store(self.s, f32(0.0), [i])

    def fetch(self, slot: Expr, start: Expr) -> None:
        """Begins to fill a slot with the keys from `start` on and their values."""
        tile, base = self.lanes.tile, slot * self.slot_words
        self.k.fill(Lines(self.memory, base + self.k_base, self.k_stride, tile.keys), start, self.lanes)
        self.v.fill(Lines(self.memory, base + self.v_base, self.v_stride, tile.keys), start, self.lanes)

    @classmethod
    @abstractmethod
    def memory_words(cls, tile: AttentionTile, head_dim: int, value_dim: int) -> int:
        """Words of shared memory that a block needs."""

    @abstractmethod
    def begin(self) -> None:
        """Reads the queries and clears the results."""

    @abstractmethod
    def scores(self, slot: Expr) -> None:
        """s = Q K^T with the keys in a slot."""

    @abstractmethod
    def accumulate(self, slot: Expr) -> None:
        """o += P V with the values in a slot; s holds P."""

    @abstractmethod
    def put(self, row: Expr, n: int, low: Expr, high: Expr) -> None:
        """A lane's two results of the n-th 8 columns, in a row of the block, go to shared memory."""

    @abstractmethod
    def get(self, row: Expr, d: Expr) -> Expr:
        """A result from there, as f32."""
