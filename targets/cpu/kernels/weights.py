"""How products read weights that lie in panels: as numbers, or as integers of few bits with scales."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.codegen.scalar import cast
from targets.codegen.vector_math import constant
from targets.cpu.kernels.workers import divide, i64, remainder

Read = Callable[[Any, Any], Expr]  # (step of k, column) -> the weight there


class Weights(ABC):
    """Weights in panels [ceil(n / columns), k, columns], zero-padded."""

    k: int
    columns: int

    @abstractmethod
    def widen(self, panel: Expr, k: Expr, depth: Expr, into: Any, lanes: int) -> None:
        """Emits copies of `depth` steps of a panel, from `k` on, as numbers in a buffer [depth, columns]."""

    @property
    def costly(self) -> bool:
        """Whether a weight takes several instructions to read: many rows then read it once for all."""
        return False


class Single(Weights):
    """Weights that are read one by one."""

    @abstractmethod
    def reader(self, panel: Expr, k: Expr, dtype: str) -> Read:
        """What reads a panel, in steps counted from `k` on, as `dtype`."""

    def widen(self, panel: Expr, k: Expr, depth: Expr, into: Any, lanes: int) -> None:
        read = self.reader(panel, k, str(into.dtype))
        with T.serial(depth) as step:
            for part in range(0, self.columns, lanes):
                with T.vectorized(lanes) as lane:
                    column = part + tirx.Cast("int64", lane)
                    T.buffer_store(into, read(step, column), [step * self.columns + column])


@dataclass(frozen=True)
class Numbers(Single):
    """Weights as numbers of any floating type, in one flat buffer."""

    panels: Any
    k: int
    columns: int

    def place(self, panel: Expr, k: Expr) -> Expr:
        """The element where step `k` of a panel begins."""
        return (panel * self.k + k) * self.columns

    def reader(self, panel: Expr, k: Expr, dtype: str) -> Read:
        first = bind(self.place(panel, k))
        return lambda step, column: cast(self.panels[first + step * self.columns + column], dtype)


@dataclass(frozen=True)
class Integers(Single):
    """Weights (q - zero) scale, where q are integers of 2, 4 or 8 bits, zero and scale one a column and block of k.

    packed: a flat buffer of bytes [.., ceil(k bits / 8), columns], with 8 / bits steps of k each, the first in the lowest bits.
    scale and zero (None: 0): f32 at a place of [.., ceil(k / block), columns]. As the op `dequantize`, rounded as there.
    """

    packed: Any
    scale: Callable[[Expr], Expr]
    zero: Callable[[Expr], Expr] | None
    k: int
    columns: int
    block: int
    bits: int

    @property
    def costly(self) -> bool:
        return True

    def reader(self, panel: Expr, k: Expr, dtype: str) -> Read:
        many = 8 // self.bits
        bytes_of, blocks = -(-self.k // many), -(-self.k // self.block)
        first, first_block = bind(panel * (bytes_of * self.columns)), bind(panel * (blocks * self.columns))

        def read(step: Any, column: Any) -> Expr:
            at = k + step
            number = self.packed[first + divide(at, many) * self.columns + column]
            if many > 1:
                shift = tirx.Cast("int32", remainder(at, many) * self.bits)
                number = (tirx.Cast("int32", number) >> shift) & constant(2**self.bits - 1, "int32")
            weight = cast(number, dtype)
            of_block = first_block + (divide(at, self.block) * self.columns if blocks > 1 else i64(0)) + column
            if self.zero is not None:
                weight = weight - self.zero(of_block)
            return weight * self.scale(of_block)

        return read
