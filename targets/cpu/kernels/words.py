"""Weights of 2 or 4 bits in words of 32 bits, from which vectors take them apart.

A panel is [k / steps, columns] of words, each with so many steps of k of one column, the first in the lowest bits: all loads are
of whole lines of the cache, one behind the other. A vector of words is read once for all rows; a shift and a look-up in a
register (AVX-512), or a shift, a mask and a conversion, make one step's numbers of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.codegen.vector_math import constant
from targets.cpu.kernels.dots import run, vector_at
from targets.cpu.kernels.weights import Weights
from targets.cpu.kernels.workers import ceil_divide, divide, i64

BYTES = 4  # of a word

Vector = Callable[[Expr], Expr]  # a place -> as many numbers as a vector has lanes


def fits(depth: int, block: int, bits: int) -> bool:
    """Whether blocks are made of whole words."""
    return bits < 8 and (block >= depth or block % (8 * BYTES // bits) == 0)


def padded(depth: int, block: int, bits: int) -> int:
    """The steps of k of a panel: whole blocks, of whole words."""
    steps = 8 * BYTES // bits
    return -(-depth // steps) * steps if block >= depth else -(-depth // block) * block


@dataclass(frozen=True)
class Words(Weights):
    """Weights (q - zero) scale of 2 or 4 bits.

    packed: a flat buffer of bytes [.., padded depth / steps, columns, 4]. scale, shift: f32 vectors at a place of
    [.., blocks, columns]; zero is `zero`, the same for all, plus `shift` (None: 0). scales: the buffer of scales, if they lie so.
    look_up: whether a register of 16 numbers may be looked up in (AVX-512). dots: whether a vector of sums takes `vpdpbusd`.
    """

    packed: Any
    scale: Vector
    shift: Vector | None
    zero: int
    k: int
    columns: int
    block: int
    bits: int
    look_up: bool = False
    dots: bool = False
    scales: Any = None

    @property
    def costly(self) -> bool:
        return True

    @property
    def lanes(self) -> int:
        return self.columns // 2

    @property
    def steps(self) -> int:
        """Of k in a word."""
        return 8 * BYTES // self.bits

    @property
    def blocks(self) -> int:
        return max(1, -(-self.k // self.block))

    @property
    def depth(self) -> int:
        """The steps of k of a panel."""
        return padded(self.k, self.block, self.bits)

    @property
    def whole_blocks(self) -> int:
        """The steps of k of a block, as panels have them."""
        return self.depth // self.blocks

    @property
    def in_table(self) -> bool:
        """Whether zero is taken off in the look-up."""
        return self.look_up and self.bits == 4

    def words(self, panel: Expr, group: Expr, vector: int) -> Expr:
        """A vector of words, of which each has the steps of one column in group `group` of a panel."""
        at = ((panel * (self.depth // self.steps) + group) * self.columns + vector * self.lanes) * BYTES
        return bind(tirx.reinterpret(f"int32x{self.lanes}", run(self.packed, at, BYTES * self.lanes)))

    def number(self, words: Expr, step: int) -> Expr:
        """Step `step` of words as f32: q - `zero` where it is taken off in the look-up, else q."""
        lanes = self.lanes
        if step:
            words = words >> tirx.Broadcast(constant(step * self.bits, "int32"), lanes)
        if self.in_table:
            table = tirx.Cast("float32x16", tirx.Ramp(constant(0, "int32"), constant(1, "int32"), 16))
            if self.zero:
                table = table - self._all(float(self.zero))
            return T.call_llvm_pure_intrin("float32x16", "llvm.x86.avx512.permvar.sf.512", table, words)
        mask = tirx.Broadcast(constant(2**self.bits - 1, "int32"), lanes)
        return tirx.Cast(f"float32x{lanes}", words & mask)

    def left(self, place: Expr) -> Expr | None:
        """What `number` has not taken off of zero at a place of the scales."""
        constant_part = None if self.in_table or not self.zero else self._all(float(self.zero))
        if self.shift is None:
            return constant_part
        shift = self.shift(place)
        return shift if constant_part is None else shift + constant_part

    def _all(self, value: float) -> Expr:
        return tirx.Broadcast(constant(value, "float32"), self.lanes)

    def widen(self, panel: Expr, k: Expr, depth: Expr, into: Any, lanes: int) -> None:
        """Whole words, of which the last one may go beyond `depth`."""
        first = divide(k, self.steps)
        with T.serial(ceil_divide(depth, self.steps)) as group:
            block = divide((first + group) * self.steps, self.block) if self.blocks > 1 else i64(0)
            for v in range(2):
                words = self.words(panel, first + group, v)
                place = bind((panel * self.blocks + block) * self.columns + v * self.lanes)
                scale, left = bind(self.scale(place)), self.left(place)
                left = None if left is None else bind(left)
                for step in range(self.steps):
                    number = self.number(words, step)
                    number = number if left is None else number - left
                    at = (group * self.steps + step) * self.columns + v * self.lanes
                    T.buffer_store(into, number * scale, [vector_at(at, self.lanes)])


def add_scaled(sums: Any, at: Expr, lanes: int, value: Expr, block: Expr) -> None:
    """Emits the addition of a block's part to sums in memory, which the first block sets."""
    before = tirx.Select(tirx.Broadcast(block > 0, lanes), run(sums, at, lanes), tirx.Broadcast(constant(0.0, "float32"), lanes))
    T.buffer_store(sums, before + value, [vector_at(at, lanes)])
