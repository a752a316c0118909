"""Exclusion of scores by a mask, the diagonal or the end of the keys; and the bias, which is added to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.vector_math import constant, f32
from targets.cuda.kernels.attention_fragments import Fragments
from targets.cuda.kernels.attention_keys import Keys
from targets.cuda.kernels.attention_tile import MINUS_INFINITY, first_reached, key_count, reach
from targets.cuda.kernels.device import WARP, registers, where


class Exclusions:
    """The exclusions of a block's scores, and which of its rows have no key at all."""

    def __init__(self, keys: Keys, products: Fragments) -> None:
        self.keys, self.spec, self.lanes, self.tile, self.products = keys, keys.spec, keys.lanes, keys.tile, products
        rows = self.tile.rows
        self.reach = registers("reach", (rows,), "int32") if self.spec.right is not None else None
        self.since = registers("since", (rows,), "int32") if self.spec.left is not None else None
        self.seen = registers("seen", (rows,), "int32") if self._each_pair else None

    @property
    def _each_pair(self) -> bool:
        """Whether every score is looked at: where keys begin to be attended, too, that alone tells which rows have none."""
        return self.spec.masked_pairs or self.spec.left is not None

    def begin(self) -> None:
        """Finds which keys each row reaches."""
        for r in range(self.tile.rows):
            if self.reach is not None:
                T.buffer_store(self.reach, reach(self.spec, self.lanes.query(r)), [r])
            if self.since is not None:
                T.buffer_store(self.since, first_reached(self.spec, self.lanes.query(r)), [r])
            if self.seen is not None:
                T.buffer_store(self.seen, constant(0, "int32"), [r])

    def _elements(self) -> Iterator[tuple[int, int, int]]:
        """Every score of this lane: its row, its column from the lane's first one on, its place."""
        for r in range(self.tile.rows):
            for n in range(self.tile.keys // 8):
                for e in range(2):
                    yield r, 8 * n + e, self.products.score(r, n, e)

    def add_bias(self, start: Expr) -> None:
        """scores = scale scores, capped, + bias, for the tile at key `start`."""
        spec, scores = self.spec, self.products.s
        assert spec.bias is not None
        for r, column, at in self._elements():
            read_bias = partial(spec.bias, spec.b, spec.h, self._query(r), self._key(start, column))
            bias = where(start + self.lanes.pair + column < key_count(spec), read_bias)
            score = spec.capped(tirx.Mul(scores[at], f32(spec.scale)))
            T.buffer_store(scores, score + bias, [at])

    def _key(self, start: Expr, column: int) -> Expr:
        return tirx.Cast("int64", start + self.lanes.pair + column)

    def _query(self, r: int) -> Expr:
        """A row's query, or the last one: rows past the end are computed and not stored."""
        return tirx.Min(self.lanes.query(r), self.spec.queries - int64(1))

    def exclude(self, start: Expr) -> None:
        """Sets the excluded scores of the tile at key `start` to -inf."""
        if self._each_pair:
            self._exclude(start)
            return
        conditions = self._conditions(start)
        if conditions:
            with T.If(tirx.any(*conditions)), T.Then():
                self._exclude(start)

    def _conditions(self, start: Expr) -> list[Expr]:
        """Conditions, each of which says that a key of the tile is excluded for a row of this warp."""
        spec, conditions = self.spec, []
        if spec.key_padding:
            full = constant((1 << min(WARP, self.tile.keys)) - 1, "uint32")
            conditions += [tirx.NE(self.keys.attended[w], full) for w in range(self.keys.words)]
        if spec.right is not None:
            conditions.append(start + self.tile.keys > reach(spec, self.lanes.query(self.lanes.start)))
        elif not spec.key_padding and not (isinstance(spec.keys, tirx.IntImm) and int(spec.keys.value) % self.tile.keys == 0):
            conditions.append(start + self.tile.keys > key_count(spec))
        return conditions

    def _exclude(self, start: Expr) -> None:
        scores = self.products.s
        allowed = self._allowed(start)
        for r, column, at in self._elements():
            attended = allowed(r, column)
            if self.seen is not None:
                # kept apart from the sums: a key allowed with a score of -inf makes a NaN, no key makes an empty row
                keep = registers("keep", (1,), "int32")
                T.buffer_store(keep, tirx.Cast("int32", attended), [0])
                T.buffer_store(self.seen, self.seen[r] | keep[0], [r])
                attended = tirx.NE(keep[0], 0)
            T.buffer_store(scores, tirx.Select(attended, scores[at], f32(MINUS_INFINITY)), [at])

    def _allowed(self, start: Expr) -> Callable[[int, int], Expr]:
        """Whether row r may attend the key in a column; names first what all columns share."""
        spec, keys, lanes = self.spec, self.keys, self.lanes
        left = registers("left", (self.tile.rows,), "int32")  # columns from this lane's first on that a row reaches
        bits = registers("bits", (keys.words,), "uint32") if spec.key_padding else None  # of these columns
        before = registers("before", (self.tile.rows,), "int32") if self.since is not None else None  # columns that it skips
        for r in range(self.tile.rows):
            T.buffer_store(left, self._reach(r) - start - lanes.pair, [r])
            if before is not None and self.since is not None:
                T.buffer_store(before, self.since[r] - start - lanes.pair, [r])
        for w in range(keys.words if bits is not None else 0):
            assert bits is not None
            T.buffer_store(bits, keys.attended[w] >> tirx.Cast("uint32", lanes.pair), [w])

        def allowed(r: int, column: int) -> Expr:
            within = constant(column, "int32") < left[r]
            if before is not None:
                within = tirx.And(within, constant(column, "int32") >= before[r])
            if spec.masked_pairs:
                assert spec.mask is not None
                return where(within, partial(spec.mask, spec.b, spec.h, self._query(r), self._key(start, column)))
            if bits is None:
                return within
            kept = tirx.NE(bits[column // WARP] & constant(1 << column % WARP, "uint32"), constant(0, "uint32"))
            return tirx.And(within, kept) if spec.limited else kept

        return allowed

    def _reach(self, r: int) -> Expr:
        return self.reach[r] if self.reach is not None else key_count(self.spec)

    def finish(self) -> None:
        """Combines what the lanes of a row have seen of it."""
        if self.seen is not None:
            self.lanes.combine(self.seen, lambda x, y: x | y)

    def empty(self, r: int) -> Expr:
        """Whether row r has no key at all, once all is finished."""
        return self.keys.first >= self._reach(r) if self.seen is None else tirx.EQ(self.seen[r], 0)
