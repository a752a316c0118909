"""Results that are NaN because of values at excluded keys, computed again from the allowed keys alone.

Tiles of values are multiplied with weights, which are 0 where keys are excluded. That costs nothing as long as the values are
finite; but 0 * NaN is NaN. So where a result is NaN, it is computed again, key by key. What allowed keys made NaN is NaN again.
"""

from __future__ import annotations

import math

from targets.base.tvm_api import Expr, T, tirx
from targets.codegen.scalar import is_nan
from targets.codegen.vector_math import constant, f32
from targets.cuda.kernels.attention_fragments import Fragments
from targets.cuda.kernels.attention_tile import MINUS_INFINITY, first_reached, key_head, reach
from targets.cuda.kernels.device import ballot, barrier, exp2, registers, shared

PEAK, TOTAL, SUM, SCORE, BASE = range(5)


class WithoutExcluded:
    """The second computation of a block's results."""

    def __init__(self, products: Fragments) -> None:
        self.products, self.spec, self.lanes = products, products.spec, products.lanes
        self.flags = shared("spoilt", (self.lanes.tile.warps,), "uint32")
        self.cell = registers("again", (5,), "float32")
        self.seen = registers("allowed", (1,), "int32")

    def look(self) -> None:
        """Notes whether any sum of this warp is NaN; a barrier of the block must follow."""
        lane_has = registers("lane_has", (1,), "int32")
        T.buffer_store(lane_has, constant(0, "int32"), [0])
        with T.unroll(self.lanes.tile.rows * self.products.columns // 4) as i:
            T.buffer_store(lane_has, lane_has[0] | tirx.Cast("int32", is_nan(self.products.o[i])), [0])
        any_lane = registers("any_lane", (1,), "uint32")
        T.buffer_store(any_lane, ballot(tirx.NE(lane_has[0], 0)), [0])
        with T.If(tirx.EQ(self.lanes.lane, 0)), T.Then():
            T.buffer_store(self.flags, any_lane[0], [self.lanes.warp])

    def mend(self) -> None:
        """Computes the results that are NaN again, after all results of the block have been stored."""
        tile, count = self.lanes.tile, self.spec.value_dim
        found = [tirx.NE(self.flags[warp], constant(0, "uint32")) for warp in range(tile.warps)]
        with T.If(tirx.any(*found)), T.Then():
            barrier()  # the first results are stored
            total = tile.queries * count
            with T.serial(-(-total // tile.threads)) as step:
                number = step * tile.threads + self.lanes.thread
                row = number // count
                with T.If(tirx.And(number < total, self.lanes.query(row) < self.spec.queries)), T.Then():
                    with T.If(is_nan(self.products.get(row, number % count))), T.Then():
                        self._again(self.lanes.query(row), tirx.Cast("int64", number % count))

    def _again(self, query: Expr, d: Expr) -> None:
        """One result from its allowed keys; without any, it stays."""
        spec, cell = self.spec, self.cell
        for i, value in ((PEAK, MINUS_INFINITY), (TOTAL, 0.0), (SUM, 0.0)):
            T.buffer_store(cell, f32(value), [i])
        T.buffer_store(self.seen, constant(0, "int32"), [0])
        with T.serial(reach(spec, query)) as key:
            j = tirx.Cast("int64", key)
            allowed = constant(True, "bool") if spec.mask is None else spec.mask(spec.b, spec.h, query, j)
            if spec.left is not None:
                allowed = tirx.And(key >= first_reached(spec, query), allowed)
            with T.If(allowed), T.Then():
                T.buffer_store(self.seen, constant(1, "int32"), [0])
                self._add(query, j, d)
        with T.If(tirx.NE(self.seen[0], 0)), T.Then():
            spec.store(spec.b, spec.h, query, d, cell[SUM] / cell[TOTAL])

    def _add(self, query: Expr, j: Expr, d: Expr) -> None:
        """Adds key j to the largest score, the sum of powers, and the sum of values."""
        spec, cell = self.spec, self.cell
        T.buffer_store(cell, f32(0.0), [SCORE])
        with T.serial(spec.head_dim) as n:
            at = tirx.Cast("int64", n)
            q, k = spec.load_q(spec.b, spec.h, query, at), spec.load_k(spec.b, key_head(spec), j, at)
            T.buffer_store(cell, cell[SCORE] + tirx.Cast("float32", q) * tirx.Cast("float32", k), [SCORE])
        score = spec.capped(tirx.Mul(cell[SCORE], f32(spec.scale)))
        T.buffer_store(cell, score if spec.bias is None else score + spec.bias(spec.b, spec.h, query, j), [SCORE])
        # NaN passes by the largest score, into the sums; -inf - (-inf) must not make one
        T.buffer_store(cell, tirx.Select(cell[SCORE] > cell[PEAK], cell[SCORE], cell[PEAK]), [BASE])
        base = tirx.Select(tirx.EQ(cell[BASE], f32(MINUS_INFINITY)), f32(0.0), cell[BASE])
        power = lambda x: exp2((x - base) * f32(math.log2(math.e)))
        value = tirx.Cast("float32", spec.load_v(spec.b, key_head(spec), j, d))
        for i, term in ((TOTAL, f32(1.0)), (SUM, value)):
            T.buffer_store(cell, cell[i] * power(cell[PEAK]) + power(cell[SCORE]) * term, [i])
        T.buffer_store(cell, cell[BASE], [PEAK])
