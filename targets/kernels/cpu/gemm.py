"""Matrix product with packed weights, C = A W^T: register tiles over packed row blocks, one kernel for all row counts.

After Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM TOMS 34(3), 2008): a slice of a
weight panel stays in the first cache while the rows of a block of A, copied to the second cache, pass over it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from targets.kernels.scalar import cast


@dataclass(frozen=True)
class GemmTile:
    rows: int
    columns: int
    lanes: int
    k_block: int
    m_block: int
    n_block: int

    @classmethod
    def for_target(cls, vector_bits, vector_registers, l1_bytes, l2_bytes, dtype="float32"):
        size = 8 if dtype == "float64" else 4
        lanes = vector_bits // (8 * size)
        rows = min(12, (vector_registers - 4) // 2)
        return cls(rows, 2 * lanes, lanes, 384, 120, 12)


import os
PF = int(os.environ.get('PF', '0'))
GROUP = int(os.environ.get('GROUP', '16'))


def opaque(value):
    cell = T.alloc_buffer((1,), "int64")
    T.buffer_store(cell, value, [0])
    return T.bind(cell[0])


def i64(value):
    return tirx.const(value, "int64")


class _Gemm:
    def __init__(self, m, n, k, load, panels, store, tile, accumulate):
        self.m, self.n, self.k = m, n, k
        self.load, self.panels, self.store = load, panels, store
        self.mr, self.nr, self.lanes = tile.rows, tile.columns, tile.lanes
        self.accumulate = accumulate
        self.n_panels = -(-n // self.nr)
        self.k_blocks = max(1, -(-k // tile.k_block))
        per = -(-k // self.k_blocks)
        self.k_block = -(-per // GROUP) * GROUP
        self.k_blocks = max(1, -(-k // self.k_block))
        self.block_panels = max(1, tile.m_block // self.mr)
        self.chunk = tile.n_block
        self.group = GROUP
        self.variants = sorted({v for v in (1, 2, 4, 6, 8, 10, self.mr) if v <= self.mr})

    def emit(self):
        m_panels = opaque(ceildiv(self.m, self.mr))
        rows_split, columns_split = worker_grid(m_panels, self.n_panels)
        with T.parallel(rows_split * columns_split) as worker:
            row_worker = opaque(tirx.truncdiv(worker, columns_split))
            column_worker = opaque(tirx.truncmod(worker, columns_split))
            row_first, row_count = share(m_panels, rows_split, row_worker)
            column_first, column_count = share(i64(self.n_panels), columns_split, column_worker)
            self.packed = T.alloc_buffer((self.block_panels * self.mr * self.k_block,), self.accumulate)
            tiles = self.chunk * self.block_panels if self.k_blocks > 1 else 1
            self.partial = T.alloc_buffer((tiles * self.mr * self.nr,), self.accumulate)
            T.evaluate(tirx.isnullptr(self.packed.data))
            T.evaluate(tirx.isnullptr(self.partial.data))
            row_blocks = opaque(ceildiv(row_count, self.block_panels))
            column_chunks = opaque(ceildiv(column_count, self.chunk))
            with T.serial(row_blocks) as rb, T.serial(column_chunks) as cc:
                p0, pn = share(row_count, row_blocks, rb)
                j0, jn = share(column_count, column_chunks, cc)
                row0 = opaque((row_first + p0) * self.mr)
                rows = opaque(tirx.min(self.m - row0, pn * self.mr))
                with T.serial(i64(self.k_blocks)) as ko:
                    self.block(row0, rows, column_first + j0, jn, ko)

    def block(self, row0, rows, panel0, panel_count, ko):
        k0 = ko * self.k_block
        depth = opaque(tirx.min(i64(self.k_block), self.k - k0)) if self.k % self.k_block else i64(self.k_block)
        tiles = opaque(ceildiv(rows, self.mr))
        height = opaque(self.rounded(ceildiv(rows, tiles)))
        full = opaque(tirx.truncdiv(rows, height) * height)
        self.pack(row0, full + self.rounded(rows - full), height, k0, depth)
        with T.serial(panel_count) as jj, T.serial(ceildiv(rows, height)) as p:
            left = opaque(tirx.min(rows - p * height, height))
            tile = i64(0) if self.k_blocks == 1 else opaque((jj * self.block_panels + p) * (self.mr * self.nr))
            weights = opaque(((panel0 + jj) * self.k + k0) * self.nr)
            self.dispatch(left, lambda v: self.micro(v, opaque(p * (self.mr * self.k_block)), weights, tile, ko, depth))
            if self.k_blocks == 1:
                self.epilogue(row0 + p * height, left, panel0 + jj, tile)
            else:
                with T.If(ko == self.k_blocks - 1), T.Then():
                    self.epilogue(row0 + p * height, left, panel0 + jj, tile)

    def rounded(self, tail):
        value = i64(0)
        for low, v in reversed(list(zip([0, *self.variants], self.variants))):
            value = tirx.Select(tail <= v, i64(v), value) if v != self.mr else i64(v)
        return tirx.Select(tail <= 0, i64(0), value)

    def dispatch(self, left, body):
        def chain(choices):
            v, *rest = choices
            if not rest:
                body(v)
                return
            with T.If(left > rest[0]):
                with T.Then():
                    body(v)
                with T.Else():
                    chain(rest)
        chain(sorted(self.variants, reverse=True))

    def pack(self, row0, rows, height, k0, depth):
        with T.serial(rows) as i:
            row = opaque(tirx.min(row0 + i, self.m - 1))
            base = opaque(tirx.truncdiv(i, height) * (self.mr * self.k_block) + tirx.truncmod(i, height) * self.group)
            with T.serial(tirx.truncdiv(depth, i64(self.group))) as kv:
                for part in range(self.group // self.lanes):
                    with T.vectorized(self.lanes) as lane:
                        kk = part * self.lanes + tirx.Cast("int64", lane)
                        T.buffer_store(self.packed, cast(self.load(row, k0 + kv * self.group + kk), self.accumulate), [base + kv * (self.mr * self.group) + kk])
            if self.k % self.group:
                kv = opaque(tirx.truncdiv(depth, i64(self.group)))
                with T.serial(tirx.truncmod(depth, i64(self.group))) as kk:
                    T.buffer_store(self.packed, cast(self.load(row, k0 + kv * self.group + kk), self.accumulate), [base + kv * (self.mr * self.group) + kk])

    def micro(self, rows, a0, weights, tile, ko, depth):
        vectors = self.nr // self.lanes
        acc = [T.alloc_buffer((rows, self.lanes), self.accumulate) for _ in range(vectors)]

        def each(value):
            with T.unroll(rows) as i:
                for v in range(vectors):
                    with T.vectorized(self.lanes) as lane:
                        T.buffer_store(acc[v], value(i, v, lane), [i, lane])

        def partial(i, v, lane):
            return self.partial[tile + i * self.nr + v * self.lanes + lane]

        zero = tirx.const(0, self.accumulate)
        if self.k_blocks == 1:
            each(lambda i, v, lane: zero)
        else:
            with T.If(ko == 0):
                with T.Then():
                    each(lambda i, v, lane: zero)
                with T.Else():
                    each(partial)
        def steps(kg, count):
            with T.serial(count) as kk:
                if PF:
                    for line in range(self.nr * 4 // 64):
                        at = weights + (kg * self.group + kk) * self.nr + PF // 4 + line * 16
                        T.evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", tirx.address_of(self.panels[at]), tirx.const(0,"int32"), tirx.const(3,"int32"), tirx.const(1,"int32")))
                each(lambda i, v, lane: acc[v][i, lane] + self.packed[a0 + kg * (self.mr * self.group) + i * self.group + kk]
                     * cast(self.panels[weights + (kg * self.group + kk) * self.nr + v * self.lanes + lane], self.accumulate))
        with T.serial(tirx.truncdiv(depth, i64(self.group))) as kg:
            steps(kg, i64(self.group))
        if self.k % self.group:
            steps(tirx.truncdiv(depth, i64(self.group)), tirx.truncmod(depth, i64(self.group)))
        with T.unroll(rows) as i:
            for v in range(vectors):
                with T.vectorized(self.lanes) as lane:
                    T.buffer_store(self.partial, acc[v][i, lane], [tile + i * self.nr + v * self.lanes + lane])

    def epilogue(self, row0, rows, panel, tile):
        tail = self.n % self.nr
        with T.serial(rows) as i:
            def vector(offset, lanes):
                with T.vectorized(lanes) as lane:
                    column = offset + tirx.Cast("int64", lane)
                    self.store(row0 + i, panel * self.nr + column, self.partial[tile + i * self.nr + column])
            def columns(count):
                with T.serial(i64(count // self.lanes)) as v:
                    vector(v * self.lanes, self.lanes)
                if count % self.lanes:
                    vector(i64(count // self.lanes * self.lanes), count % self.lanes)
            if not tail:
                columns(self.nr)
            else:
                with T.If(panel == self.n_panels - 1):
                    with T.Then():
                        columns(tail)
                    with T.Else():
                        columns(self.nr)


def ceildiv(a, b):
    return tirx.truncdiv(a + (b - 1), b if isinstance(b, tirx.Expr) else i64(b))


def share(total, parts, index):
    first = opaque(tirx.truncdiv(total * index, parts))
    return first, opaque(tirx.truncdiv(total * (index + 1), parts) - first)


def worker_grid(m_panels, n_panels):
    workers = opaque(tirx.Cast("int64", tirx.call_packed("runtime.NumThreads")))
    best = T.alloc_buffer((3,), "int64")
    T.buffer_store(best, i64(1 << 60), [0])
    T.buffer_store(best, i64(0), [1])
    T.buffer_store(best, i64(1), [2])
    with T.serial(tirx.min(workers, m_panels)) as r:
        columns = opaque(tirx.min(tirx.truncdiv(workers, r + 1), i64(n_panels)))
        cost = opaque(ceildiv(m_panels, r + 1) * ceildiv(i64(n_panels), columns))
        with T.If(cost < best[0]), T.Then():
            T.buffer_store(best, cost, [0])
            T.buffer_store(best, r + 1, [1])
            T.buffer_store(best, columns, [2])
    return opaque(best[1]), opaque(best[2])


def gemm(*, m, n, k, load, panels, store, tile, dtype="float32", accumulate=None):
    _Gemm(m, n, k, load, panels, store, tile, accumulate or dtype).emit()
