"""Which keys the queries of a block attend: where they begin and end, and what a mask, the diagonal or the end takes from a tile."""

from __future__ import annotations

from collections.abc import Callable

from targets.kernels.cuda.attention_spec import MINUS_INFINITY, AttentionSpec, Lanes
from targets.kernels.cuda.device import WARP, ballot, barrier, registers, shared, shuffle_xor
from targets.kernels.vector_math import constant, f32
from targets.tvm_api import Buffer, Expr, T, int64, tirx

Score = Callable[[int, int, int], int]  # (row, block of 8 columns, 0 or 1) -> place in the scores


class Keys:
    """The keys of a block. A mask of keys is held as one bit a key, the same in every lane."""

    def __init__(self, spec: AttentionSpec, lanes: Lanes) -> None:
        self.spec, self.lanes, self.tile = spec, lanes, lanes.tile
        rows = self.tile.rows
        self.words = -(-self.tile.keys // WARP)
        self.range = registers("range", (2,), "int32")  # the first key to attend, and the end of the last
        self.reach = registers("reach", (rows,), "int32") if spec.causal else None
        self.seen = registers("seen", (rows,), "int32") if spec.masked_pairs else None
        if spec.key_padding:
            self.coming = registers("coming", (self.words,), "int32")
            self.attended = registers("attended", (self.words,), "uint32")

    @property
    def first(self) -> Expr:
        return self.range[0]

    @property
    def end(self) -> Expr:
        return self.range[1]

    def begin(self) -> None:
        """Finds the range, and how far each row reaches."""
        spec = self.spec
        T.buffer_store(self.range, constant(0, "int32"), [0])
        T.buffer_store(self.range, spec.length, [1])
        if spec.key_padding:
            self._scan_mask()
        for r in range(self.tile.rows):
            if self.reach is not None:
                T.buffer_store(self.reach, spec.reach(self.lanes.query(r)), [r])
            if self.seen is not None:
                T.buffer_store(self.seen, constant(0, "int32"), [r])
        if spec.causal:
            last = tirx.Min(self.lanes.first + int64(self.tile.queries), spec.queries) - int64(1)
            T.buffer_store(self.range, tirx.Min(self.end, spec.reach(last)), [1])

    def _scan_mask(self) -> None:
        """The first key that the mask keeps (the number of keys if there is none), and the end of the last one."""
        tile, thread = self.tile, self.lanes.thread
        T.buffer_store(self.range, self.spec.length, [0])
        T.buffer_store(self.range, constant(0, "int32"), [1])
        with T.serial(tirx.truncdiv(self.spec.length + (tile.threads - 1), constant(tile.threads, "int32"))) as chunk:
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
        value = mask(self.spec.b, self.spec.h, int64(0), tirx.Cast("int64", key))
        return tirx.if_then_else(key < self.spec.length, value, constant(False, "bool"))

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
        """The tile that was asked for is the one at hand."""
        if self.spec.key_padding:
            for w in range(self.words):
                T.buffer_store(self.attended, ballot(tirx.NE(self.coming[w], 0)), [w])

    def live(self, start: Expr) -> Expr | None:
        """Whether this warp attends any key of the tile at `start`; None if it does in any case."""
        spec, lanes = self.spec, self.lanes
        conditions = []
        if spec.key_padding:
            total = self.attended[0]
            for w in range(1, self.words):
                total = total | self.attended[w]
            conditions.append(tirx.NE(total, constant(0, "uint32")))
        if spec.causal:
            conditions.append(start < spec.reach(lanes.query(lanes.start + (self.tile.panels * 16 - 1))))
        if not (isinstance(spec.queries, tirx.IntImm) and int(spec.queries.value) % self.tile.queries == 0):
            conditions.append(lanes.query(lanes.start) < spec.queries)
        return tirx.all(*conditions) if conditions else None

    def exclude(self, scores: Buffer, score: Score, start: Expr) -> None:
        """Sets the scores of the tile at key `start` that do not count to -inf; keeps account of rows that have any that does."""
        needed = self._excludes(start)
        if needed is None:
            self._exclude(scores, score, start)
        elif not (isinstance(needed, tirx.IntImm) and not int(needed.value)):
            with T.If(needed), T.Then():
                self._exclude(scores, score, start)

    def _excludes(self, start: Expr) -> Expr | None:
        """Whether any key of the tile may not count for a row of this warp; None if that has to be asked in any case."""
        spec, conditions = self.spec, []
        if spec.masked_pairs:
            return None
        if spec.key_padding:
            for w in range(self.words):
                full = (1 << min(WARP, self.tile.keys)) - 1
                conditions.append(tirx.NE(self.attended[w], constant(full, "uint32")))
        if spec.causal:
            conditions.append(start + self.tile.keys > spec.reach(self.lanes.query(self.lanes.start)))
        elif not spec.key_padding:
            if isinstance(spec.keys, tirx.IntImm) and int(spec.keys.value) % self.tile.keys == 0:
                return constant(False, "bool")
            conditions.append(start + self.tile.keys > spec.length)
        return tirx.any(*conditions)

    def _exclude(self, scores: Buffer, score: Score, start: Expr) -> None:
        spec, lanes = self.spec, self.lanes
        left = registers("left", (self.tile.rows,), "int32")  # columns from this lane's first on that a row reaches
        bits = registers("bits", (self.words,), "uint32")
        for r in range(self.tile.rows):
            reach = self.reach[r] if self.reach is not None else spec.length
            T.buffer_store(left, reach - start - lanes.pair, [r])
        for w in range(self.words if spec.key_padding else 0):
            T.buffer_store(bits, self.attended[w] >> tirx.Cast("uint32", lanes.pair), [w])
        for r in range(self.tile.rows):
            for n in range(self.tile.keys // 8):
                for e in range(2):
                    at, column = score(r, n, e), 8 * n + e
                    allowed = self._allowed(r, column, start, left, bits)
                    if self.seen is not None:
                        keep = registers("keep", (1,), "int32")
                        T.buffer_store(keep, tirx.Cast("int32", allowed), [0])
                        T.buffer_store(self.seen, self.seen[r] | keep[0], [r])
                        allowed = tirx.NE(keep[0], 0)
                    T.buffer_store(scores, tirx.Select(allowed, scores[at], f32(MINUS_INFINITY)), [at])

    def _allowed(self, r: int, column: int, start: Expr, left: Buffer, bits: Buffer) -> Expr:
        spec = self.spec
        within = constant(column, "int32") < left[r]
        if spec.masked_pairs:
            assert spec.mask is not None
            value = spec.mask(spec.b, spec.h, self.clamped_query(r), self.key(start, column))
            return tirx.if_then_else(within, value, constant(False, "bool"))
        conditions = [within] if spec.causal or not spec.key_padding else []
        if spec.key_padding:
            one = bits[column // WARP] & constant(1 << column % WARP, "uint32")
            conditions.append(tirx.NE(one, constant(0, "uint32")))
        return tirx.all(*conditions)

    def key(self, start: Expr, column: int) -> Expr:
        """The key, int64, in a column of this lane."""
        return tirx.Cast("int64", start + self.lanes.pair + column)

    def clamped_query(self, r: int) -> Expr:
        """A row's query, or the last one: rows past the end are computed and not stored."""
        return tirx.Min(self.lanes.query(r), self.spec.queries - int64(1))

    def add_bias(self, scores: Buffer, score: Score, start: Expr) -> None:
        """scores = scale scores + bias, for the tile at key `start`."""
        spec = self.spec
        assert spec.bias is not None
        for r in range(self.tile.rows):
            for n in range(self.tile.keys // 8):
                for e in range(2):
                    at, key = score(r, n, e), self.key(start, 8 * n + e)
                    bias = spec.bias(spec.b, spec.h, self.clamped_query(r), key)
                    inside = start + self.lanes.pair + (8 * n + e) < spec.length
                    bias = tirx.if_then_else(inside, bias, f32(0.0))
                    T.buffer_store(scores, scores[at] * f32(spec.scale) + bias, [at])

    def empty(self, r: int) -> Expr:
        """Whether row r has no key at all, once all tiles are done."""
        spec = self.spec
        if self.seen is not None:
            return tirx.EQ(self.seen[r], 0)
        reach = self.reach[r] if self.reach is not None else spec.length
        return self.first >= reach  # `first` is 0 without a mask

    def finish(self) -> None:
        """What the lanes of a row know of it is brought together."""
        for r in range(self.tile.rows if self.seen is not None else 0):
            for distance in (1, 2):
                assert self.seen is not None
                T.buffer_store(self.seen, self.seen[r] | shuffle_xor(self.seen[r], distance), [r])
