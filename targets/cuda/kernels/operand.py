"""Operands of products: blocks of them are copied from global to shared memory, one for each stage of a ring.

A block has `lines` of `width` elements, in the direction in which the operand lies together in memory: along k (a line is a
row), or along its rows (a line is a step of k). Lines are cut into pieces of 16 bytes, which are permuted within 128 bytes so
that the pieces of 8 lines that are read at once, or of one line that is written, lie in different banks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen.scalar import to_store
from targets.cuda.kernels import device
from targets.cuda.kernels.adjacent import adjacent, consecutive, stored_element
from targets.cuda.kernels.launch import Place, divides, each_of, int32

PIECE = 16  # bytes of one copy, and of one access to shared memory
BANKS = 128  # bytes that shared memory gives at once
BATCH = 8  # elements that a thread reads before it stores the first
SIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4,
        "uint32": 4, "int64": 8, "uint64": 8}

Element = Callable[[Expr, Expr, Expr], Expr]  # (batch, row, k)


@dataclass(frozen=True)
class Operand:
    """A matrix [rows, depth] for each batch, of `dtype`.

    load(b, i, k), of int64, is an element as an expression, read inside of the matrix only; but its place in memory is computed
    outside too. along_k: neighbours along k lie together; else those along rows, or none. copied: pieces in that direction can
    be copied as they are.
    """

    rows: Expr
    depth: Expr
    load: Element
    dtype: str
    along_k: bool
    copied: bool

    @classmethod
    def of(cls, rows: Expr, depth: Expr, load: Element, dtype: str) -> Operand:
        """An operand whose layout is found out from what `load` reads."""
        b, i, k = (tirx.Var(name, "int64") for name in ("batch", "row", "depth"))
        by_k, by_row = (lambda at: load(b, i, at)), (lambda at: load(b, at, k))
        for along_k, line in ((True, by_k), (False, by_row)):
            if adjacent(line, PIECE // SIZE[dtype], dtype):
                return cls(rows, depth, load, dtype, along_k, copied=True)
        return cls(rows, depth, load, dtype, along_k=consecutive(by_k, 2) or not consecutive(by_row, 2), copied=False)


class Blocks:
    """Blocks of tile_rows x tile_depth elements of an operand in `memory`, from element `base` on.

    They are of the rows from `first` (int64) on, and filled by the threads of a block.
    """

    def __init__(self, operand: Operand, tile_rows: int, tile_depth: int, memory: Buffer, base: int, place: Place, first: Expr,
                 ) -> None:  # fmt: skip
        self.operand, self.tile_rows, self.memory, self.base = operand, tile_rows, memory, base
        self.place, self.first = place, first
        self.group = PIECE // SIZE[operand.dtype]
        self.lines, self.width = (tile_rows, tile_depth) if operand.along_k else (tile_depth, tile_rows)
        self.pieces = self.width // self.group
        self.elements = self.lines * self.width  # of one block
        self.counts = self._count_rows()

    def at(self, slot: Expr, row: Expr | int, k: Expr | int) -> Expr:
        """The index in `memory` of an element of a block; `row` and `k` are int32, within the block."""
        line, place = (int32(x) for x in self._turned(row, k))
        beside = max(1, BANKS // (PIECE * self.pieces))  # lines that fill all banks
        turn = tirx.floormod(tirx.floordiv(line, beside), min(self.pieces, BANKS // PIECE))
        piece = tirx.bitwise_xor(tirx.floordiv(place, self.group), turn)
        return slot * self.elements + (line * self.width + piece * self.group + tirx.floormod(place, self.group) + self.base)

    def _count_rows(self) -> Buffer | None:
        """The bytes to read in each of this thread's copies, 0 of rows that do not exist. nvcc would ask again every time."""
        operand = self.operand
        if not operand.copied or not operand.along_k or divides(self.tile_rows, operand.rows):
            return None
        counts = device.registers("counts", (-(-self.lines * self.pieces // self.place.threads),), "int32")

        def count(number: Expr, turn: Expr) -> None:
            inside = self.first + tirx.Cast("int64", tirx.floordiv(number, self.pieces)) < operand.rows
            T.buffer_store(counts, tirx.Select(inside, int32(PIECE), int32(0)), [turn])

        each_of(self.lines * self.pieces, self.place, count)
        return counts

    def fill(self, slot: Expr, step: Expr) -> None:
        """Begin to fill a slot with what lies from `step` of k on (int64); outside of the matrix it is 0."""
        if self.operand.copied:
            each_of(self.lines * self.pieces, self.place, partial(self._copy, slot, step))
        else:
            each_of(self.elements, self.place, partial(self._store, slot, step), at_once=BATCH)

    def _turned(self, a: Expr | int, b: Expr | int) -> tuple[Any, Any]:
        """Exchanges (row, k) and (line, position in it)."""
        return (a, b) if self.operand.along_k else (b, a)

    def _position(self, row: Expr, k: Expr, step: Expr) -> tuple[Expr, Expr]:
        """The row and k of the matrix that belong to a place in a block."""
        return self.first + tirx.Cast("int64", row), step + tirx.Cast("int64", k)

    def _copy(self, slot: Expr, step: Expr, number: Expr, turn: Expr) -> None:
        """Copies a piece asynchronously. What does not exist is not read, whatever its address."""
        operand = self.operand
        row, k = self._turned(tirx.floordiv(number, self.pieces), tirx.floormod(number, self.pieces) * self.group)
        i, at = self._position(row, k, step)
        line, place = self._turned(i, at)
        lines, places = self._turned(operand.rows, operand.depth)
        count = self.counts[turn] if self.counts is not None else int32(PIECE)
        if self.counts is None and not divides(self.lines, lines):
            count = tirx.Select(line < lines, count, int32(0))
        if not divides(self.width, places):
            left = tirx.max(tirx.min(places - place, int64(self.group)), int64(0))
            count = tirx.min(count, tirx.Cast("int32", left) * SIZE[operand.dtype])
        element = stored_element(operand.load(self.place.batch, i, at))
        assert element is not None
        device.copy_async(device.address(self.memory, self.at(slot, row, k)), tirx.address_of(element), count)

    def _store(self, slot: Expr, step: Expr, number: Expr, _: Expr) -> None:
        """Copies an element through a register."""
        operand = self.operand
        row, k = self._turned(tirx.floordiv(number, self.width), tirx.floormod(number, self.width))
        i, at = self._position(row, k, step)
        value = device.where(tirx.all(i < operand.rows, at < operand.depth), lambda: operand.load(self.place.batch, i, at))
        target = self.at(slot, row, k)
        T.buffer_store(self.memory, to_store(value, operand.dtype, target), [target])
