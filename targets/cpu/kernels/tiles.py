"""Intel's tiles (AMX): one instruction multiplies 16 rows of 64 bytes by as many of weights, and adds to 16 x 16 sums.

A tile of A is a line of k (32 bf16 or 64 bytes) of 16 rows; one of weights is 16 groups of k for 16 columns, half of a
panel. Tiles are numbered here, and LLVM's allocator of registers has no part in them. A plain twin computes the same of the
same layout, bit by bit, on any CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.vector_math import constant
from targets.cpu.kernels.dots import Dot, run, vector_at, widened_bf16
from targets.cpu.kernels.workers import i64

ROWS = 16  # of a tile, each of BYTES
BYTES = 64
COLUMNS = 16  # of sums in 32 bits: as many as groups in a line
_A, _W = 4, 6  # the tiles that operands come in; 0 to 3 are sums


@dataclass(frozen=True)
class TileDot(Dot):
    """An instruction on tiles, or its plain twin, with `block` in the place of `step`."""

    @property
    def plain(self) -> bool:
        return self.name.startswith("plain")

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A context in which this thread has tiles of full size; after it the processor keeps none of their contents."""
        if self.plain:
            yield
            return
        # palette 1; eight tiles (16 bits each): bytes of a row; eight (8 bits each): rows
        words = [1, 0, *[BYTES * 0x0001_0001_0001_0001] * 2, 0, 0, ROWS * 0x0101_0101_0101_0101, 0]
        shape = T.alloc_buffer((len(words),), "int64")
        for at, word in enumerate(words):
            T.buffer_store(shape, i64(word), [at])
        _emit("ldtilecfg", tirx.address_of(shape[0]))
        yield
        _emit("tilerelease")

    def block(self, high: int, lines: int, a: Callable[[Expr], Expr], w: Callable[[Expr], Expr], packed: Any, panels: Any,
              sums: Any, ahead: Callable[[Expr], None]) -> None:
        """Emits 16 `high` x 32 sums over `lines` of k, into `sums` [16 high, 32].

        `a(line)` and `w(line)` are where a line begins in `packed`, with the rows of one line behind each other, and in `panels`;
        `ahead` emits what asks memory for weights that come later.
        """
        emit = self._plain_block if self.plain else self._tiles_block
        emit(high, lines, a, w, packed, panels, sums, ahead)

    def _tiles_block(self, high: int, lines: int, a: Callable[[Expr], Expr], w: Callable[[Expr], Expr], packed: Any, panels: Any,
                     sums: Any, ahead: Callable[[Expr], None]) -> None:
        for tile in range(2 * high):
            _emit("tilezero", _tile(tile))
        with T.serial(i64(lines)) as line:
            ahead(line)
            for i in range(high):
                rows = packed[a(line) + i * (ROWS * COLUMNS * self.group)]
                _emit("tileloadd64", _tile(_A + i), tirx.address_of(rows), i64(BYTES))
            for v in range(2):
                weights = panels[w(line) + v * (COLUMNS * self.group)]
                _emit("tileloadd64", _tile(_W + v), tirx.address_of(weights), i64(2 * BYTES))
            self.multiply(high)
        for i in range(high):
            for v in range(2):
                _emit("tilestored64", _tile(2 * i + v), tirx.address_of(sums[(2 * i * ROWS + v) * COLUMNS]), i64(2 * BYTES))

    def multiply(self, high: int) -> None:
        """Emits the products of `high` tiles of A and two of weights, added to as many tiles of sums."""
        for i in range(high):
            for v in range(2):
                _emit(self.name, _tile(2 * i + v), _tile(_A + i), _tile(_W + v))

    def _plain_block(self, high: int, lines: int, a: Callable[[Expr], Expr], w: Callable[[Expr], Expr], packed: Any, panels: Any,
                     sums: Any, ahead: Callable[[Expr], None]) -> None:
        """The same in the same order: of bf16, a line's first and second products of pairs are summed apart, and then added."""
        parts = 2 if self.accumulate == "float32" else 1
        zero = tirx.Broadcast(constant(0, self.accumulate), COLUMNS)
        of_line = T.alloc_buffer((parts * COLUMNS,), self.accumulate)

        def vector(buffer: Any, at: Any, value: Expr) -> None:
            T.buffer_store(buffer, value, [vector_at(at, COLUMNS)])

        with T.serial(i64(high * ROWS)) as row, T.serial(i64(2)) as v:
            total = (row * 2 + v) * COLUMNS
            vector(sums, total, zero)
            with T.serial(i64(lines)) as line:
                for part in range(parts):
                    vector(of_line, i64(part * COLUMNS), zero)
                with T.serial(i64(COLUMNS)) as group:
                    left = a(line) + (row * COLUMNS + group) * self.group
                    right = w(line) + (group * 2 + v) * (COLUMNS * self.group)
                    for k in range(self.group):
                        at = i64(k % parts * COLUMNS)
                        vector(of_line, at, run(of_line, at, COLUMNS) + self._product(packed, left + k, panels, right + k))
                added = run(of_line, i64(0), COLUMNS)
                if parts == 2:
                    added = added + run(of_line, i64(COLUMNS), COLUMNS)
                vector(sums, total, run(sums, total, COLUMNS) + added)

    def _product(self, packed: Any, a: Expr, panels: Any, w: Expr) -> Expr:
        """One element of A times one step of k of 16 columns."""
        weights = run(panels, w, COLUMNS, self.group)
        if self.accumulate == "float32":
            weights = tirx.reinterpret(f"uint16x{COLUMNS}", weights)
            return tirx.Broadcast(widened_bf16(packed[a], 1), COLUMNS) * widened_bf16(weights, COLUMNS)
        return tirx.Broadcast(tirx.Cast("int32", packed[a]), COLUMNS) * tirx.Cast(f"int32x{COLUMNS}", weights)


def _tile(number: int) -> Expr:
    return tirx.const(number, "int8")


def _emit(instruction: str, *operands: Expr) -> None:
    T.evaluate(tirx.call_llvm_intrin("void", f"llvm.x86.{instruction}", *operands))
