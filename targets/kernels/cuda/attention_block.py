"""One block of an attention kernel: some queries of one head against all keys, tile by tile, with online softmax.

FlashAttention-2 (arXiv:2307.08691): while a tile is attended the next one is on its way, a row's maximum and sum are held by the four
lanes that have its scores, and results are divided by the sum at the very end.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from targets.kernels.cuda.adjacent import adjacent
from targets.kernels.cuda.attention_fma import FloatProducts
from targets.kernels.cuda.attention_fragments import Fragments
from targets.kernels.cuda.attention_keys import Keys
from targets.kernels.cuda.attention_mma import TensorProducts
from targets.kernels.cuda.attention_spec import MINUS_INFINITY, AttentionSpec, AttentionTile, Lanes
from targets.kernels.cuda.device import (
    address,
    ballot,
    barrier,
    commit_copies,
    copy_16,
    exp2,
    registers,
    shared,
    shuffle_xor,
    wait_copies,
)
from targets.kernels.cuda.tile_copy import PIECE, per_word
from targets.kernels.vector_math import constant, f32
from targets.tvm_api import Buffer, Expr, T, int64, tirx

LOG2E = math.log2(math.e)


def products_of(dtype: str) -> type[Fragments]:
    """The products for elements of a type."""
    return FloatProducts if dtype == "float32" else TensorProducts


class AttentionBlock:
    """Emits the code of the block whose first query is `first` (int64), in an open launch."""

    def __init__(self, spec: AttentionSpec, tile: AttentionTile, first: Expr, thread: Expr) -> None:
        self.spec, self.tile = spec, tile
        self.lanes = Lanes(tile, thread, first)
        self.products = products_of(spec.dtype)(spec, self.lanes)
        self.keys = Keys(spec, self.lanes)
        self.peak, self.total = (registers(name, (tile.rows,), "float32") for name in ("peak", "total"))
        # scores of a positive scale have their largest where products have it: the scale goes into the exponent
        self.scaled = spec.bias is None and spec.scale > 0

    def emit(self) -> None:
        """The whole block."""
        keys, size = self.keys, self.tile.keys
        self.products.begin()
        for r in range(self.tile.rows):
            T.buffer_store(self.peak, f32(MINUS_INFINITY), [r])
            T.buffer_store(self.total, f32(0.0), [r])
        keys.begin()
        bounds = registers("bounds", (2,), "int32")  # the first tile, and how many there are
        T.buffer_store(bounds, tirx.truncdiv(keys.first, size), [0])
        T.buffer_store(bounds, tirx.truncdiv(keys.end + (size - 1), size) - bounds[0], [1])
        if self.tile.stages > 1:
            with T.If(bounds[1] > 0), T.Then():
                self._fetch(constant(0, "int32"), bounds[0] * size)
        with T.serial(tirx.Max(bounds[1], 0)) as step:
            start = (bounds[0] + step) * size
            if self.tile.stages == 1:
                barrier()
                self._fetch(constant(0, "int32"), start)
            self._wait()
            barrier()  # the tile is complete, and no warp reads the other slot any more
            keys.enter()
            if self.tile.stages > 1:
                with T.If(step + 1 < bounds[1]), T.Then():
                    self._fetch((step + 1) % 2, start + size)
            slot = step % 2 if self.tile.stages > 1 else constant(0, "int32")
            live = keys.live(start)
            if live is None:
                self._attend(slot, start)
            else:
                with T.If(live), T.Then():
                    self._attend(slot, start)
        self._finish()

    def _fetch(self, slot: Expr, start: Expr) -> None:
        self.products.fetch(slot, start)
        if self.products.copied:
            commit_copies()
        self.keys.ask(start)

    def _wait(self) -> None:
        if self.products.copied:
            wait_copies(0)

    def _attend(self, slot: Expr, start: Expr) -> None:
        """One tile: scores, powers, results."""
        products, spec = self.products, self.spec
        products.scores(slot)
        if spec.bias is not None:
            self.keys.add_bias(products.s, products.score, start)
        elif not self.scaled:
            for i in range(self.tile.rows * self.tile.keys // 4):
                T.buffer_store(products.s, products.s[i] * f32(spec.scale), [i])
        self.keys.exclude(products.s, products.score, start)
        self._soften()
        products.accumulate(slot)

    def _soften(self) -> None:
        """Scores become powers; maxima, sums and results follow. NaN passes by a maximum, into the sum.

        Each step is done for all rows before the next one: their chains of dependent instructions overlap.
        """
        products, rows = self.products, range(self.tile.rows)
        columns = [(n, e) for n in range(self.tile.keys // 8) for e in range(2)]
        top, shift, decay = (registers(name, (self.tile.rows,), "float32") for name in ("top", "shift", "decay"))
        for r in rows:
            T.buffer_store(top, self.peak[r], [r])
        for n, e in columns:
            for r in rows:
                T.buffer_store(top, tirx.Max(top[r], products.s[products.score(r, n, e)]), [r])
        self._over_lanes(top, tirx.Max)
        for r in rows:
            # where nothing is attended yet, -inf - (-inf) must not make a NaN
            T.buffer_store(shift, tirx.Select(tirx.EQ(top[r], f32(MINUS_INFINITY)), f32(0.0), self._exponent(top[r])), [r])
            T.buffer_store(decay, self._power(self.peak[r], shift[r]), [r])
            T.buffer_store(self.peak, top[r], [r])
            T.buffer_store(self.total, self.total[r] * decay[r], [r])
        for n, e in columns:
            for r in rows:
                at = products.score(r, n, e)
                T.buffer_store(products.s, self._power(products.s[at], shift[r]), [at])
                T.buffer_store(self.total, self.total[r] + products.s[at], [r])
        for n in range(products.columns // 8):
            for r in rows:
                for e in range(2):
                    at = products.out(r, n, e)
                    T.buffer_store(products.o, products.o[at] * decay[r], [at])

    def _over_lanes(self, values: Buffer, combine: Callable[[Expr, Expr], Expr]) -> None:
        """Each row's value in every one of the four lanes that have a part of it."""
        for distance in (1, 2):
            for r in range(self.tile.rows):
                T.buffer_store(values, combine(values[r], shuffle_xor(values[r], distance)), [r])

    def _exponent(self, score: Expr) -> Expr:
        return score * f32(self.spec.scale * LOG2E) if self.scaled else score

    def _power(self, score: Expr, shift: Expr) -> Expr:
        """e^(score - the shift's): a bias may be the lowest number there is, so scores are not multiplied by log2 e before."""
        if self.scaled:
            return exp2(score * f32(self.spec.scale * LOG2E) - shift)
        return exp2((score - shift) * f32(LOG2E))

    def _finish(self) -> None:
        """Divides by the sums and stores the rows that exist, through shared memory: neighbours go to neighbouring addresses."""
        rows, products = self.tile.rows, self.products
        self.keys.finish()
        self._over_lanes(self.total, tirx.Add)
        for r in range(rows):
            T.buffer_store(self.total, f32(1.0) / self.total[r], [r])
        mean = self._mean_of_values() if self.spec.empty_row == "uniform" else None
        barrier()
        for r in range(rows):
            for n in range(products.columns // 8):
                low, high = (self._result(r, n, e, mean) for e in range(2))
                products.put(self.lanes.row(r), n, low, high)
        barrier()
        if self._stored_whole():
            self._store_pieces()
        else:
            self._store_elements()

    def _result(self, r: int, n: int, e: int, mean: Buffer | None) -> Expr:
        spec, products = self.spec, self.products
        filler = f32(0.0) if mean is None else mean[self.lanes.pair + (8 * n + e)]
        if spec.empty_row == "nan":
            filler = tirx.Select(tirx.EQ(spec.length, 0), f32(0.0), f32(float("nan")))
        return tirx.Select(self.keys.empty(r), filler, products.o[products.out(r, n, e)] * self.total[r])

    def _mean_of_values(self) -> Buffer:
        """The mean of all values, computed if a query of this block has no key."""
        spec, tile = self.spec, self.tile
        flags, mean = shared("flags", (tile.warps,), "uint32"), shared("mean", (self.products.columns,), "float32")
        anywhere = registers("anywhere", (1,), "uint32")
        empties = [self.keys.empty(r) for r in range(tile.rows)]
        T.buffer_store(anywhere, ballot(tirx.any(*empties)), [0])
        with T.If(tirx.EQ(self.lanes.lane, 0)), T.Then():
            T.buffer_store(flags, anywhere[0], [self.lanes.warp])
        barrier()
        for warp in range(tile.warps):
            T.buffer_store(anywhere, anywhere[0] | flags[warp], [0])
        with T.If(tirx.NE(anywhere[0], constant(0, "uint32"))), T.Then():
            total = registers("sum", (1,), "float32")
            for chunk in range(-(-self.products.columns // tile.threads)):
                d = self.lanes.thread + chunk * tile.threads
                with T.If(d < spec.value_dim), T.Then():
                    T.buffer_store(total, f32(0.0), [0])
                    with T.serial(spec.length) as j:
                        value = spec.load_v(spec.b, spec.key_head, tirx.Cast("int64", j), tirx.Cast("int64", d))
                        T.buffer_store(total, total[0] + tirx.Cast("float32", value), [0])
                    count = tirx.Cast("float32", tirx.Max(spec.length, 1))
                    T.buffer_store(mean, total[0] / count, [d])
        return mean

    def _stored_whole(self) -> bool:
        spec, group = self.spec, PIECE * per_word(self.spec.dtype)
        i = tirx.Var("i", "int64")
        return spec.place is not None and spec.value_dim % group == 0 and adjacent(
            lambda d: spec.place(spec.b, spec.h, i, d), group, spec.dtype)  # type: ignore[misc]

    def _store_pieces(self) -> None:
        spec, group = self.spec, PIECE * per_word(self.spec.dtype)

        def store(row: Expr, piece: Expr) -> None:
            assert spec.place is not None
            to = spec.place(spec.b, spec.h, self.lanes.query(row), tirx.Cast("int64", piece) * int64(group))
            copy_16(tirx.address_of(to), address(self.products.memory, row * self.products.out_stride + piece * PIECE))

        self._each(spec.value_dim // group, store)

    def _store_elements(self) -> None:
        spec = self.spec
        self._each(spec.value_dim, lambda row, d: spec.store(
            spec.b, spec.h, self.lanes.query(row), tirx.Cast("int64", d), self.products.get(row, d)))

    def _each(self, count: int, body) -> None:  # type: ignore[no-untyped-def]
        """`body(row, i)` for the rows of the block that are queries and i < count: neighbouring threads have neighbouring i."""
        total = self.tile.queries * count
        with T.serial(-(-total // self.tile.threads)) as step:
            number = step * self.tile.threads + self.lanes.thread
            row = number // count
            with T.If(tirx.And(number < total, self.lanes.query(row) < self.spec.queries)), T.Then():
                body(row, number % count)
