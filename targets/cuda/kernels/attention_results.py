"""Storing the results of a block: divided by the sums, through shared memory, to neighbouring addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen.attention import AttentionSpec
from targets.codegen.vector_math import constant, f32
from targets.cuda.kernels.adjacent import adjacent
from targets.cuda.kernels.attention_exclude import Exclusions
from targets.cuda.kernels.attention_excluded import WithoutExcluded
from targets.cuda.kernels.attention_fragments import Fragments
from targets.cuda.kernels.attention_tile import AttentionTile, Lanes, key_count, key_head
from targets.cuda.kernels.device import address, ballot, barrier, copy, registers, shared
from targets.cuda.kernels.tile_copy import PIECE, per_word


@dataclass(frozen=True)
class Results:
    """The results of a block, in the registers of `products`; `total`: this lane's part of each row's sum of powers."""

    products: Fragments
    exclusions: Exclusions
    total: Buffer

    @property
    def spec(self) -> AttentionSpec:
        return self.products.spec

    @property
    def lanes(self) -> Lanes:
        return self.products.lanes

    @property
    def tile(self) -> AttentionTile:
        return self.products.lanes.tile

    def emit(self) -> None:
        """Stores the rows that exist."""
        products, rows = self.products, range(self.tile.rows)
        self.lanes.combine(self.total, tirx.Add)
        for r in rows:
            T.buffer_store(self.total, f32(1.0) / self.total[r], [r])
        mean = self._mean_of_values() if self.spec.empty_row == "uniform" else None
        without = WithoutExcluded(products) if self.spec.excludes else None
        if without is not None:
            without.look()
        barrier()  # nobody reads keys and values any more, and the mean is there
        for r in rows:
            for n in range(products.columns // 8):
                low, high = (self._result(r, n, e, mean) for e in range(2))
                products.put(self.lanes.row(r), n, low, high)
        barrier()
        if self._stored_whole():
            self._store_pieces()
        else:
            self._store_elements()
        if without is not None:
            without.mend()

    def _result(self, r: int, n: int, e: int, mean: Buffer | None) -> Expr:
        spec, products = self.spec, self.products
        filler = f32(0.0) if mean is None else mean[self.lanes.pair + (8 * n + e)]
        if spec.empty_row == "nan":
            filler = tirx.Select(tirx.EQ(key_count(spec), 0), f32(0.0), f32(float("nan")))
        return tirx.Select(self.exclusions.empty(r), filler, products.o[products.out(r, n, e)] * self.total[r])

    def _mean_of_values(self) -> Buffer:
        """The mean of all values, computed if a query of this block has no key."""
        spec, tile = self.spec, self.tile
        flags, mean = shared("flags", (tile.warps,), "uint32"), shared("mean", (self.products.columns,), "float32")
        anywhere = registers("anywhere", (1,), "uint32")
        empties = [self.exclusions.empty(r) for r in range(tile.rows)]
        T.buffer_store(anywhere, ballot(tirx.any(*empties)), [0])
        with T.If(tirx.EQ(self.lanes.lane, 0)), T.Then():
            T.buffer_store(flags, anywhere[0], [self.lanes.warp])
        barrier()
        for warp in range(tile.warps):
            T.buffer_store(anywhere, anywhere[0] | flags[warp], [0])
        with T.If(tirx.NE(anywhere[0], constant(0, "uint32"))), T.Then():
            total = registers("sum", (1,), "float64")
            for chunk in range(-(-self.products.columns // tile.threads)):
                d = self.lanes.thread + chunk * tile.threads
                with T.If(d < spec.value_dim), T.Then():
                    T.buffer_store(total, constant(0, "float64"), [0])
                    with T.serial(key_count(spec)) as j:
                        value = spec.load_v(spec.b, key_head(spec), tirx.Cast("int64", j), tirx.Cast("int64", d))
                        T.buffer_store(total, total[0] + tirx.Cast("float64", value), [0])
                    count = tirx.Cast("float64", tirx.Max(key_count(spec), 1))
                    T.buffer_store(mean, tirx.Cast("float32", total[0] / count), [d])
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
            copy(tirx.address_of(to), address(self.products.memory, row * self.products.out_stride + piece * PIECE), 4 * PIECE)

        self._each(spec.value_dim // group, store)

    def _store_elements(self) -> None:
        spec = self.spec
        self._each(spec.value_dim, lambda row, d: spec.store(
            spec.b, spec.h, self.lanes.query(row), tirx.Cast("int64", d), self.products.get(row, d)))

    def _each(self, count: int, body: Callable[[Expr, Expr], None]) -> None:
        """`body(row, i)` for the rows of the block that are queries and i < count: neighbouring threads have neighbouring i."""
        total = self.tile.queries * count
        with T.serial(-(-total // self.tile.threads)) as step:
            number = step * self.tile.threads + self.lanes.thread
            row = number // count
            with T.If(tirx.And(number < total, self.lanes.query(row) < self.spec.queries)), T.Then():
                body(row, number % count)
