"""One block of an attention kernel: some queries of one head against all keys, tile by tile, with online softmax.

FlashAttention-2 (arXiv:2307.08691): while a tile is attended the next one is on its way, a row's maximum and sum are held by
the four lanes that have its scores, and results are divided by the sum at the very end.
"""

from __future__ import annotations

import math

from targets.base.tvm_api import Expr, T, tirx
from targets.codegen.attention import AttentionSpec
from targets.codegen.vector_math import constant, f32
from targets.cuda.kernels.attention_exclude import Exclusions
from targets.cuda.kernels.attention_fma import FloatProducts
from targets.cuda.kernels.attention_fragments import Fragments
from targets.cuda.kernels.attention_keys import Keys
from targets.cuda.kernels.attention_mma import TensorProducts
from targets.cuda.kernels.attention_results import Results
from targets.cuda.kernels.attention_tile import MINUS_INFINITY, AttentionTile, Lanes
from targets.cuda.kernels.device import barrier, commit_copies, exp2, registers, wait_copies

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
        self.exclusions = Exclusions(self.keys, self.products)
        self.peak, self.total = (registers(name, (tile.rows,), "float32") for name in ("peak", "total"))
        # scores of a positive scale have their largest where products have it: the scale goes into the exponent, or the cap
        self.factor = spec.softcap or spec.scale
        self.scaled = spec.bias is None and self.factor > 0

    def emit(self) -> None:
        """Emits the whole block."""
        keys, size = self.keys, self.tile.keys
        self.products.begin()
        for r in range(self.tile.rows):
            T.buffer_store(self.peak, f32(MINUS_INFINITY), [r])
            T.buffer_store(self.total, f32(0.0), [r])
        keys.begin()
        self.exclusions.begin()
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
        self._wait()  # there may have been no tile, and queries may still be on their way
        self.exclusions.finish()
        Results(self.products, self.exclusions, self.total).emit()

    def _fetch(self, slot: Expr, start: Expr) -> None:
        self.products.fetch(slot, start)
        if self.products.copied:
            commit_copies()
        self.keys.ask(start)

    def _wait(self) -> None:
        if self.products.copied:
            wait_copies(0)

    def _attend(self, slot: Expr, start: Expr) -> None:
        """Emits one tile: scores, powers, results."""
        products, spec = self.products, self.spec
        products.scores(slot)
        if spec.bias is not None:
            self.exclusions.add_bias(start)
        elif spec.softcap or not self.scaled:
            for i in range(self.tile.rows * self.tile.keys // 4):
                score = tirx.Mul(products.s[i], f32(spec.scale))
                T.buffer_store(products.s, spec.fraction_of_cap(score) if spec.softcap else score, [i])
        self.exclusions.exclude(start)
        self._soften()
        products.accumulate(slot)

    def _soften(self) -> None:
        """Scores become powers; maxima, sums and results follow. NaN passes by a maximum, into the sum.

        Each step is done for all rows before the next one: their chains of dependent instructions overlap.
        """
        products, rows = self.products, range(self.tile.rows)
        columns = [(n, e) for n in range(self.tile.keys // 8) for e in range(2)]
        top, shift, decay, sums = (registers(name, (self.tile.rows,), "float32") for name in ("top", "shift", "decay", "sums"))
        for r in rows:
            T.buffer_store(top, self.peak[r], [r])
        for n, e in columns:
            for r in rows:
                T.buffer_store(top, tirx.Max(top[r], products.s[products.score(r, n, e)]), [r])
        self.lanes.combine(top, tirx.Max)
        for r in rows:
            # where nothing is attended yet, -inf - (-inf) must not make a NaN
            T.buffer_store(shift, tirx.Select(tirx.EQ(top[r], f32(MINUS_INFINITY)), f32(0.0), self._exponent(top[r])), [r])
            T.buffer_store(decay, self._power(self.peak[r], shift[r]), [r])
            T.buffer_store(self.peak, top[r], [r])
            T.buffer_store(sums, f32(0.0), [r])  # the tile's apart: the whole is no chain over all keys
        for n, e in columns:
            for r in rows:
                at = products.score(r, n, e)
                T.buffer_store(products.s, self._power(products.s[at], shift[r]), [at])
                T.buffer_store(sums, sums[r] + products.s[at], [r])
        for r in rows:
            T.buffer_store(self.total, self.total[r] * decay[r] + sums[r], [r])
        for n in range(products.columns // 8):
            for r in rows:
                for e in range(2):
                    at = products.out(r, n, e)
                    T.buffer_store(products.o, products.o[at] * decay[r], [at])

    def _exponent(self, score: Expr) -> Expr:
        return tirx.Mul(score, f32(self.factor * LOG2E)) if self.scaled else score

    def _power(self, score: Expr, shift: Expr) -> Expr:
        """e^(score - the shift's): a bias may be the lowest number there is, so scores are not multiplied by log2 e before."""
        if self.scaled:
            return exp2(tirx.Mul(score, f32(self.factor * LOG2E)) - shift)
        return exp2((score - shift) * f32(LOG2E))
