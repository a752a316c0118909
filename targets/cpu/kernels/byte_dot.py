"""Products of bytes without VNNI, exactly, though vpmaddubsw adds two products in 16 bits and saturates.

It takes weights as w + 128 <= 255: a sum stays within 16 bits where the positive x in it add up to 128 at most, and the negative
ones likewise. Most x of a layer are so small against the largest one of their row that two sums of two may be added in 16 bits
as well, which saves a quarter of the slow instructions. `Rests` has what is too large for that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.vector_math import constant
from targets.cpu.kernels.dots import Dot, broadcast_word, run

GROUP = 4  # bytes of k in a 32-bit word
LIMIT = 128  # that x of one sign add up to in a sum of 16 bits: 255 times as much fits
_PAIRS = {32: "llvm.x86.avx2.pmadd.ub.sw", 64: "llvm.x86.avx512.pmaddubs.w.512"}
_FOURS = {16: "llvm.x86.avx2.pmadd.wd", 32: "llvm.x86.avx512.pmaddw.d.512"}


@dataclass(frozen=True)
class ByteDot(Dot):
    """vpmaddubsw, and vpmaddwd by ones: products of i8 with all that `Rests` leave of A."""

    @property
    def products_apart(self) -> bool:
        return True

    @property
    def sums_stored(self) -> bool:
        return self.unsigned

    @property
    def single(self) -> ByteDot:
        """The same for one group."""
        return replace(self, deep=1)

    def step(self, total: Expr, a: Any, a_at: Expr, panels: Any, w_at: Expr) -> Expr:
        size = GROUP * self.lanes
        pairs: list[Expr] = []
        for number in range(self.deep):
            unsigned = run(panels, w_at + number * 2 * size, size) ^ every(-128, "int8", size)  # w + 128
            pairs.append(in_pairs(unsigned, broadcast_word(self, a, a_at + number * GROUP, f"int8x{size}"), size))
        return total + in_fours(sum(pairs[1:], pairs[0]), size // 2)


def every(value: int, dtype: str, lanes: int) -> Expr:
    """A vector of one value."""
    return tirx.Broadcast(constant(value, dtype), lanes)


def in_pairs(unsigned: Expr, signed: Expr, count: int) -> Expr:
    """Sums of two products of bytes each, in i16."""
    return T.call_llvm_pure_intrin(f"int16x{count // 2}", _PAIRS[count], unsigned, signed)


def in_fours(pairs: Expr, count: int) -> Expr:
    """Sums of two sums each, in i32."""
    return T.call_llvm_pure_intrin(f"int32x{count // 2}", _FOURS[count], pairs, every(1, "int16", count))
