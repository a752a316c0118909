"""Products of bytes without VNNI, exactly, though vpmaddubsw adds two products in 16 bits and saturates.

It takes weights as w + 128 <= 255, so that x1 and x2 of a pair do not saturate where |x1 + x2| <= 128: nearly always, after a
layer's norm. A group of A with another pair is multiplied twice, by half of x and by what remains. What the 128 add to a row's
sums, 128 times the sum of its x, is taken off beforehand.
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
from targets.cpu.kernels.dots import Dot, broadcast_word, run, vector_at
from targets.cpu.kernels.workers import i64

GROUP = 4  # bytes of k in a 32-bit word
CHUNK = 32  # bytes of A that are looked at in one vector, also where weights come in wider ones
MOST = 128  # of |x1 + x2|: 255 times as much is within 16 bits
_PAIRS = {32: "llvm.x86.avx2.pmadd.ub.sw", 64: "llvm.x86.avx512.pmaddubs.w.512"}
_FOURS = {16: "llvm.x86.avx2.pmadd.wd", 32: "llvm.x86.avx512.pmaddw.d.512"}


@dataclass(frozen=True)
class ByteDot(Dot):
    """vpmaddubsw, and vpmaddwd by ones: four products of i8, for an A whose `Halves` are multiplied too."""

    def step(self, total: Expr, a: Any, a_at: Expr, panels: Any, w_at: Expr) -> Expr:
        count = GROUP * self.lanes
        unsigned = tirx.bitwise_xor(run(panels, w_at, count), tirx.Broadcast(constant(-128, "int8"), count))  # w + 128
        return total + _fours(_pairs(unsigned, broadcast_word(self, a, a_at, f"int8x{count}"), count), count // 2)


class Halves:
    """What remains of the groups of packed A of which it keeps a half only, and where sums of its rows start.

    rows: of packed A; groups: of one of them.
    """

    def __init__(self, dot: ByteDot, rows: int, groups: int) -> None:
        self.dot, self.groups = dot, groups
        self.starts = T.alloc_buffer((rows,), "int32")  # of sums: -128 times a row's sum
        self._counts = T.alloc_buffer((rows,), "int32")  # of groups that are halved
        self._numbers = T.alloc_buffer((max(1, rows * groups),), "int32")
        self._rests = T.alloc_buffer((max(1, rows * groups * GROUP),), "int8")
        self._parts = T.alloc_buffer((CHUNK // GROUP,), "int32")  # sums of a row's bytes

    def take(self, row: Expr, packed: Any, chunks: int, place: Callable[[Expr], Expr]) -> None:
        """Emits the halving of a row in `packed`, whose `chunks` of CHUNK elements are at `place(number)`."""
        words = CHUNK // GROUP
        T.buffer_store(self._counts, constant(0, "int32"), [row])
        T.buffer_store(self._parts, tirx.Broadcast(constant(0, "int32"), words), [vector_at(i64(0), words)])
        with T.serial(i64(chunks)) as chunk:
            self._halve(row, packed, bind(place(chunk)), chunk * words)
        total: Expr = self._parts[i64(0)]
        for lane in range(1, words):
            total = total + self._parts[i64(lane)]
        T.buffer_store(self.starts, total * -128, [row])

    def _halve(self, row: Expr, packed: Any, at: Expr, group: Expr) -> None:
        """Emits the same for one chunk, whose first group has the number given."""
        words, lanes = CHUNK // GROUP, CHUNK // 2
        pairs = bind(_pairs(tirx.Broadcast(constant(1, "int8"), CHUNK), run(packed, at, CHUNK), CHUNK))
        T.buffer_store(self._parts, run(self._parts, i64(0), words) + _fours(pairs, lanes), [vector_at(i64(0), words)])
        size = T.call_llvm_pure_intrin(f"int16x{lanes}", "llvm.abs", pairs, tirx.const(False, "bool"))
        yes, no, most = (tirx.Broadcast(constant(value, "int16"), lanes) for value in (-1, 0, MOST))
        marks = tirx.reinterpret(f"int8x{CHUNK}", tirx.Select(size > most, yes, no))
        mask = bind(T.call_llvm_pure_intrin("int32", "llvm.x86.avx2.pmovmskb", marks))  # a bit for each byte
        with T.If(mask != 0), T.Then(), T.serial(i64(words)) as word:
            bits = mask >> tirx.Cast("int32", word * GROUP)
            with T.If((bits & constant(15, "int32")) != 0), T.Then():
                count = bind(self._counts[row])
                rest = bind(row * self.groups + tirx.Cast("int64", count))
                T.buffer_store(self._counts, count + 1, [row])
                T.buffer_store(self._numbers, tirx.Cast("int32", group + word), [rest])
                for k in range(GROUP):
                    whole = bind(packed[at + word * GROUP + k])
                    half = bind(whole >> constant(1, "int8"))
                    T.buffer_store(packed, half, [at + word * GROUP + k])
                    T.buffer_store(self._rests, whole - half, [rest * GROUP + k])

    def add(self, row: Expr, panels: Any, panel: Expr, sums: Any, at: Expr, vectors: int) -> None:
        """Emits the products of what remains of a row with the panel that begins at `panel`, added to its sums from `at` on."""
        dot, lanes = self.dot, self.dot.lanes
        with T.If(self._counts[row] > 0), T.Then():
            totals = [T.alloc_buffer((lanes,), "int32") for _ in range(vectors)]
            for v, total in enumerate(totals):
                T.buffer_store(total, run(sums, at + v * lanes, lanes), [vector_at(i64(0), lanes)])
            with T.serial(tirx.Cast("int64", self._counts[row])) as number:
                rest = bind(row * self.groups + number)
                weights = bind(panel + tirx.Cast("int64", self._numbers[rest]) * (vectors * lanes * GROUP))
                for v, total in enumerate(totals):
                    more = dot.step(run(total, i64(0), lanes), self._rests, rest * GROUP, panels, weights + v * lanes * GROUP)
                    T.buffer_store(total, more, [vector_at(i64(0), lanes)])
            for v, total in enumerate(totals):
                T.buffer_store(sums, run(total, i64(0), lanes), [vector_at(at + v * lanes, lanes)])


def _pairs(unsigned: Expr, signed: Expr, count: int) -> Expr:
    """Sums of two products of bytes each, in i16."""
    return T.call_llvm_pure_intrin(f"int16x{count // 2}", _PAIRS[count], unsigned, signed)


def _fours(pairs: Expr, count: int) -> Expr:
    """Sums of two sums each, in i32."""
    return T.call_llvm_pure_intrin(f"int32x{count // 2}", _FOURS[count], pairs, tirx.Broadcast(constant(1, "int16"), count))
