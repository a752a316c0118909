"""Instructions that multiply groups of k and add the products to one 32-bit sum: what a CPU has, and what they mean.

A group's elements of A lie beside each other in one 32-bit word; weights lie in panels [.., columns, group] beside each
other as well (`pack_panels`). Each dot is tested by a plain one with the same group, which any CPU runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.scalar import cast
from targets.codegen.vector_math import constant

Vector = Callable[[int], Any]


@dataclass(frozen=True)
class Dot:
    """An instruction, or a loop, whose `step` adds the products of one or more groups of k to a vector of sums.

    group: elements of k in a 32-bit word of A. deep: groups in one step. packed: the element type in which blocks of A are kept.
    accumulate: that of the sums. unsigned: whether x must be u8. lanes: sums of one vector. name: of an instruction, or "plain".
    """

    name: str
    group: int
    packed: str
    accumulate: str
    lanes: int
    unsigned: bool = False
    deep: int = 1

    @property
    def products_apart(self) -> bool:
        """Whether products come in registers of their own before they are added."""
        return False

    @property
    def sums_stored(self) -> bool:
        """Whether panels have the sums of their columns behind them."""
        return False

    def pack(self, x: Expr) -> Expr:
        """An element of A as it is packed: an integer widened, or the bits of a bf16 that is held as f32."""
        if self.packed == "uint16":
            return tirx.Cast("uint16", tirx.reinterpret("uint32", x) >> constant(16, "uint32"))
        return cast(x, self.packed)

    def imports(self) -> Any:
        """A context in which functions that `step` calls are defined, in LLVM's language."""
        return T.attr("", "pragma_import_llvm", _BF16_LLVM) if self.name == "vdpbf16ps" else contextlib.nullcontext()

    def worker(self) -> AbstractContextManager[None]:
        """A context for the code of one worker."""
        return contextlib.nullcontext()

    def step(self, total: Expr, a: Any, a_at: Expr, panels: Any, w_at: Expr) -> Expr:
        """`total` (a vector) plus the products of A's groups from `a_at` on with those of the columns at `w_at`."""
        return _STEPS[self.name](self, total, a, a_at, panels, w_at)


def vector_at(first: Any, lanes: int) -> Expr:
    """The indices of `lanes` elements from `first` on."""
    return tirx.Ramp(first, constant(1, "int64"), lanes)


def run(buffer: Any, first: Expr, count: int, stride: int = 1) -> Expr:
    """`count` elements of a buffer as a vector."""
    return tirx.BufferLoad(buffer, [tirx.Ramp(first, tirx.const(stride, "int64"), count)])


def broadcast_word(dot: Dot, a: Any, a_at: Expr, vector: str) -> Expr:
    """The group at `a_at` in every lane, as `vector`."""
    word = tirx.reinterpret("int32", run(a, a_at, dot.group))
    return tirx.reinterpret(vector, tirx.Broadcast(word, dot.lanes))


def _vnni(dot: Dot, total: Expr, a: Any, a_at: Expr, panels: Any, w_at: Expr) -> Expr:
    """vpdpbusd: four products of u8 and i8 added to an i32, without saturation."""
    bits, count = 32 * dot.lanes, 4 * dot.lanes
    weights = tirx.reinterpret(f"int8x{count}", run(panels, w_at, count))
    return T.call_llvm_pure_intrin(f"int32x{dot.lanes}", f"llvm.x86.avx512.vpdpbusd.{bits}", total,
                                   broadcast_word(dot, a, a_at, f"uint8x{count}"), weights)


def _plain(dot: Dot, total: Expr, a: Any, a_at: Expr, panels: Any, w_at: Expr) -> Expr:
    for part in range(dot.group):
        left = cast(a[a_at + part], dot.accumulate)
        right = tirx.Cast(f"{dot.accumulate}x{dot.lanes}", run(panels, w_at + part, dot.lanes, dot.group))
        total = total + tirx.Broadcast(left, dot.lanes) * right
    return total


# TVM turns vectors of bf16 into f32 before LLVM sees them: the instruction is reached by LLVM's language alone. Several kernels
# of a module define it: the linker keeps one.
_BF16_LLVM = """
target triple = "x86_64-unknown-linux-gnu"
define linkonce_odr <16 x float> @tgraph_dpbf16ps(<16 x float> %total, <16 x i32> %a, <16 x i32> %w) alwaysinline {
  %left = bitcast <16 x i32> %a to <32 x bfloat>
  %right = bitcast <16 x i32> %w to <32 x bfloat>
  %sum = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float> %total, <32 x bfloat> %left, <32 x bfloat> %right)
  ret <16 x float> %sum
}
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
"""


def _bf16(dot: Dot, total: Expr, a: Any, a_at: Expr, panels: Any, w_at: Expr) -> Expr:
    """vdpbf16ps: two products of bf16 added to an f32."""
    weights = tirx.reinterpret("int32x16", run(panels, w_at, 32))
    return T.call_pure_extern("float32x16", "tgraph_dpbf16ps", total, broadcast_word(dot, a, a_at, "int32x16"), weights)


def widened_bf16(bits: Expr, lanes: int) -> Expr:
    """The f32 of the bits of a bf16, or of as many as a vector has `lanes`."""
    suffix = f"x{lanes}" if lanes > 1 else ""
    sixteen = constant(16, "uint32")
    wide = tirx.Cast(f"uint32{suffix}", bits) << (tirx.Broadcast(sixteen, lanes) if lanes > 1 else sixteen)
    return tirx.reinterpret(f"float32{suffix}", wide)


def _plain_bf16(dot: Dot, total: Expr, a: Any, a_at: Expr, panels: Any, w_at: Expr) -> Expr:
    for part in range(dot.group):
        weights = tirx.reinterpret(f"uint16x{dot.lanes}", run(panels, w_at + part, dot.lanes, dot.group))
        total = total + tirx.Broadcast(widened_bf16(a[a_at + part], 1), dot.lanes) * widened_bf16(weights, dot.lanes)
    return total


_STEPS: dict[str, Callable[..., Expr]] = {"vpdpbusd": _vnni, "plain": _plain, "vdpbf16ps": _bf16, "plain bf16": _plain_bf16}
