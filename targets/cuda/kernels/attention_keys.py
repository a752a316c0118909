"""Which keys the queries of a block attend: where they begin and end, and, of a mask of keys, one bit for each."""

from __future__ import annotations

from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.attention import AttentionSpec
from targets.codegen.vector_math import constant
from targets.cuda.kernels.attention_tile import PANEL, Lanes, first_reached, key_count, reach
from targets.cuda.kernels.device import WARP, ballot, barrier, registers, shared, shuffle_xor, where


class Keys:
    """The keys of a block. The bits of a mask of keys are those of the current tile, the same in every lane."""

    def __init__(self, spec: AttentionSpec, lanes: Lanes) -> None:
        self.spec, self.lanes, self.tile = spec, lanes, lanes.tile
        self.words = -(-self.tile.keys // WARP)
        self.range = registers("range", (2,), "int32")  # the first key to attend, and the end of the last
        if spec.key_padding:
            self.coming = registers("coming", (self.words,), "int32")
            self.attended = registers("attended", (self.words,), "uint32")

    @property
    def first(self) -> Expr:
        """0 without a window and a mask of keys; the number of keys if there is none to attend."""
        return self.range[0]

    @property
    def end(self) -> Expr:
        return self.range[1]

    def begin(self) -> None:
        """Finds the range."""
        spec = self.spec
        T.buffer_store(self.range, constant(0, "int32"), [0])
        T.buffer_store(self.range, key_count(spec), [1])
        if spec.key_padding:
            self._scan_mask()
        if spec.left is not None:
            T.buffer_store(self.range, tirx.Max(self.first, first_reached(spec, self.lanes.first)), [0])
        if spec.right is not None:
            last = tirx.Min(self.lanes.first + int64(self.tile.queries), spec.queries) - int64(1)
            T.buffer_store(self.range, tirx.Min(self.end, reach(spec, last)), [1])

    def _scan_mask(self) -> None:
        """The first key that the mask keeps (the number of keys if there is none), and the end of the last one."""
        tile, thread = self.tile, self.lanes.thread
        T.buffer_store(self.range, key_count(self.spec), [0])
        T.buffer_store(self.range, constant(0, "int32"), [1])
        with T.serial(tirx.truncdiv(key_count(self.spec) + (tile.threads - 1), constant(tile.threads, "int32"))) as chunk:
            key = chunk * tile.threads + thread
            with T.If(self._kept(key)), T.Then():
                T.buffer_store(self.range, tirx.Min(self.first, key), [0])
                T.buffer_store(self.range, key + 1, [1])
        for i, combine in enumerate((tirx.Min, tirx.Max)):
            for distance in (16, 8, 4, 2, 1):
                T.buffer_store(self.range, combine(self.range[i], shuffle_xor(self.range[i], distance)), [i])
        if tile.warps > 1:
            found = shared("found", (2 * tile.warps,), "int32")
            with T.If(tirx.EQ(self.lanes.lane, 0)), T.Then():
                for i in range(2):
                    T.buffer_store(found, self.range[i], [self.lanes.warp * 2 + i])
            barrier()
            for i, combine in enumerate((tirx.Min, tirx.Max)):
                for warp in range(tile.warps):
                    T.buffer_store(self.range, combine(self.range[i], found[2 * warp + i]), [i])

    def _kept(self, key: Expr) -> Expr:
        """Whether the mask of keys keeps a key (int32)."""
        mask = self.spec.mask
        assert mask is not None
        return where(key < key_count(self.spec), lambda: mask(self.spec.b, self.spec.h, int64(0), tirx.Cast("int64", key)))

    def ask(self, start: Expr) -> None:
        """Begins to read the mask of the tile at key `start`, which `enter` then waits for."""
        if self.spec.key_padding:
            for w in range(self.words):
                T.buffer_store(self.coming, tirx.Cast("int32", self._lane_keeps(start, w)), [w])

    def _lane_keeps(self, start: Expr, word: int) -> Expr:
        kept = self._kept(start + word * WARP + self.lanes.lane)
        if self.tile.keys % WARP:
            kept = tirx.And(self.lanes.lane < self.tile.keys % WARP, kept)
        return kept

    def enter(self) -> None:
        """Makes the tile that `ask` read the current one."""
        if self.spec.key_padding:
            for w in range(self.words):
                T.buffer_store(self.attended, ballot(tirx.NE(self.coming[w], 0)), [w])

    def live(self, start: Expr) -> Expr | None:
        """Whether this warp attends any key of the tile at `start`; None if it does in any case."""
        spec, lanes = self.spec, self.lanes
        conditions = []
        if spec.key_padding:
            conditions.append(tirx.any(*[tirx.NE(self.attended[w], constant(0, "uint32")) for w in range(self.words)]))
        if spec.left is not None:
            conditions.append(start + self.tile.keys > first_reached(spec, lanes.query(lanes.start)))
        if spec.right is not None:
            conditions.append(start < reach(spec, lanes.query(lanes.start + (self.tile.panels * PANEL - 1))))
        if not (isinstance(spec.queries, tirx.IntImm) and int(spec.queries.value) % self.tile.queries == 0):
            conditions.append(lanes.query(lanes.start) < spec.queries)
        return tirx.all(*conditions) if conditions else None
