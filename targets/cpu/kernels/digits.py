"""Products of few rows with weights of 2 or 4 bits by `vpdpbusd` (VNNI), as exact as in f32: A as integers of three digits.

Each block of a row of A becomes X = A 2^21 / max |A|, rounded, and X = 65536 h + 256 m + l with signed bytes h, m and l. The
integers of weights are unsigned bytes, so that an instruction adds four products of 16 columns, and nothing is rounded until a
block's sum is: A loses what is below 2^-22 of the largest of its block, where f32 loses 2^-24 of each product and each sum.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.codegen.vector_math import constant
from targets.cpu.kernels.dots import run, vector_at
from targets.cpu.kernels.words import BYTES, Words, add_scaled
from targets.cpu.kernels.workers import i64

DIGITS = 3
MOST, LEAST = 21, 19  # bits of an integer of A besides its sign: at most, and those with which this is still as good as f32
TINY = 1e-32  # a block of A with nothing larger counts as zero: 2^21 over it leaves the range of f32
HALF = 12582912.0  # 1.5 2^23: what is added to it, up to 2^22, is rounded to the nearest integer, in its lowest bits


def bits_for(weights: Words) -> int:
    """The bits of an integer of A with which no sum of a block leaves 32 bits."""
    return min(MOST, int(math.log2((2**31 - 1) / ((2**weights.bits - 1) * weights.whole_blocks))))


class Digits:
    """Up to `most` rows of A in digits, and their products with panels."""

    def __init__(self, weights: Words, most: int):
        self.weights, self.bits = weights, bits_for(weights)
        self.streams = 8 // weights.bits  # of steps of k: those in the lowest bits of bytes, those in the next, ...
        self.block, self.run = weights.whole_blocks, weights.depth // self.streams
        self.digits = [T.alloc_buffer((most * weights.depth,), "int8") for _ in range(DIGITS)]
        self.units = T.alloc_buffer((most * weights.blocks,), "float32")  # what 1 stands for in a block
        self.starts = T.alloc_buffer((most * weights.blocks,), "int32")  # -zero times the sum of a block

    def pack(self, m: Expr, a: Any) -> None:
        """Takes rows apart that lie in `a`, [m, depth]; digits of what is not finite mean nothing."""
        block, lanes = self.block, min(8, self.weights.lanes)
        zeros = tirx.Broadcast(constant(0.0, "float32"), lanes)
        peaks, sums = T.alloc_buffer((lanes,), "float32"), T.alloc_buffer((lanes,), "int32")
        integers = T.alloc_buffer((block,), "int32")
        all_lanes = [vector_at(i64(0), lanes)]
        with T.serial(m) as i, T.serial(i64(self.weights.blocks)) as b:
            first, at = bind(i * self.weights.depth + b * block), bind(i * self.weights.blocks + b)
            T.buffer_store(peaks, zeros, all_lanes)
            T.buffer_store(sums, tirx.Broadcast(constant(0, "int32"), lanes), all_lanes)
            with T.serial(i64(block // lanes)) as part:
                x = bind(run(a, first + part * lanes, lanes))
                T.buffer_store(peaks, tirx.max(run(peaks, i64(0), lanes), tirx.max(x, zeros - x)), all_lanes)
            peak = _over_lanes(peaks, lanes, tirx.max)
            step = constant(2.0**self.bits, "float32")
            inverse = bind(tirx.Select(peak < constant(TINY, "float32"), constant(0.0, "float32"), step / peak))
            T.buffer_store(self.units, peak * constant(2.0**-self.bits, "float32"), [at])
            with T.serial(i64(block // lanes)) as part:
                moved = run(a, first + part * lanes, lanes) * tirx.Broadcast(inverse, lanes) + tirx.Broadcast(
                    constant(HALF, "float32"), lanes)
                whole = bind(tirx.reinterpret(f"int32x{lanes}", moved) - tirx.Broadcast(constant(0x4B400000, "int32"), lanes))
                T.buffer_store(integers, whole, [vector_at(part * lanes, lanes)])
                T.buffer_store(sums, run(sums, i64(0), lanes) + whole, all_lanes)
            total = _over_lanes(sums, lanes, lambda x, y: x + y)
            T.buffer_store(self.starts, total * constant(-self.weights.zero, "int32"), [at])
            self._split(integers, i, b)

    def _split(self, integers: Any, i: Any, b: Any) -> None:
        """Stores the digits of a block, so that the steps of a stream lie beside each other."""
        steps = self.block // self.streams
        lanes = math.gcd(steps, 16)
        half, byte = constant(128, "int32"), constant(8, "int32")
        for stream in range(self.streams):
            to = bind((i * self.streams + stream) * self.run + b * steps)
            with T.serial(i64(steps // lanes)) as part, T.vectorized(lanes) as lane:
                place = part * lanes + tirx.Cast("int64", lane)
                low = integers[place * self.streams + stream]
                middle = (low + half) >> byte
                for digits, value in zip(self.digits, (low, middle, (middle + half) >> byte)):
                    T.buffer_store(digits, tirx.Cast("int8", value), [to + place])

    def tile(self, height: int, row: Expr, panel: Expr, block: Expr, to: Expr, *, sums: Any, sums_of_a: Any) -> None:
        """Emits the sums of `height` rows from `row` on with one block of a panel, added to those in `sums` from `to` on."""
        weights, lanes = self.weights, self.weights.lanes
        parts = [[T.alloc_buffer((height * lanes,), "int32") for _ in range(DIGITS)] for _ in range(2)]
        nothing = tirx.Broadcast(constant(0, "int32"), lanes)
        rows = [(i, vector_at(i64(i * lanes), lanes)) for i in range(height)]
        groups = self.block // weights.steps
        for i, at in rows:
            start = bind(tirx.Broadcast(self.starts[(row + i) * weights.blocks + block], lanes))
            for part in parts:
                for digit, buffer in enumerate(part):
                    T.buffer_store(buffer, nothing if digit else start, [at])
        vectors = [[0, 1]] if height <= 2 else [[0], [1]]  # at a time: as many as there are registers for
        for together in vectors:
            with T.serial(i64(groups)) as group:
                place = bind(block * groups + group)
                for v in together:
                    words = weights.words(panel, place, v)
                    for stream in range(self.streams):
                        numbers = bind(self._numbers(words, stream))
                        for i, at in rows:
                            left = bind(((row + i) * self.streams + stream) * self.run + place * BYTES)
                            for digits, buffer in zip(self.digits, parts[v]):
                                total = tirx.BufferLoad(buffer, [at])
                                T.buffer_store(buffer, self._dot(total, numbers, digits, left), [at])
            for v in together:
                place = bind((panel * weights.blocks + block) * weights.columns + v * lanes)
                scale = bind(weights.scale(place))
                for i, at in rows:
                    low, middle, high = (tirx.BufferLoad(buffer, [at]) for buffer in parts[v])
                    whole = low + (middle << tirx.Broadcast(constant(8, "int32"), lanes)) + (
                        high << tirx.Broadcast(constant(16, "int32"), lanes))
                    here = bind((row + i) * weights.blocks + block)
                    added = tirx.Cast(f"float32x{lanes}", whole) * tirx.Broadcast(self.units[here], lanes)
                    if weights.shift is not None:
                        added = added - weights.shift(place) * tirx.Broadcast(sums_of_a[here], lanes)
                    add_scaled(sums, to + (i * weights.columns + v * lanes), lanes, added * scale, block)

    def _numbers(self, words: Expr, stream: int) -> Expr:
        """The integers of one stream as bytes."""
        lanes, bits = self.weights.lanes, self.weights.bits
        if stream:
            words = words >> tirx.Broadcast(constant(stream * bits, "int32"), lanes)
        return words & tirx.Broadcast(constant((2**bits - 1) * 0x01010101, "int32"), lanes)

    def _dot(self, total: Expr, numbers: Expr, digits: Any, at: Expr) -> Expr:
        """`total` plus four products of u8 and i8 in each lane."""
        lanes = self.weights.lanes
        left = tirx.Broadcast(tirx.reinterpret("int32", run(digits, at, BYTES)), lanes)
        return T.call_llvm_pure_intrin(
            f"int32x{lanes}", f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", total,
            tirx.reinterpret(f"uint8x{BYTES * lanes}", numbers), tirx.reinterpret(f"int8x{BYTES * lanes}", left))


def _over_lanes(buffer: Any, lanes: int, combine: Any) -> Expr:
    """All elements of a small buffer, combined one after the other."""
    found: Expr = buffer[i64(0)]
    for lane in range(1, lanes):
        found = combine(found, buffer[i64(lane)])
    return bind(found)
