"""An operand of a product on its way from global memory: blocks of it lie in shared memory, one for each stage of a ring.

A block has `lines` of `width` elements, in the direction in which the operand lies together in memory: along k (a line is a row),
or along its rows (a line is a step of k). Lines are cut into pieces of 16 bytes, which are permuted within 128 bytes so that the
pieces of 8 lines that are read at once, or of one line that is written, lie in different banks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.kernels.cuda import device
from targets.kernels.cuda.adjacent import adjacent, consecutive, stored_element
from targets.kernels.cuda.launch import divides, each_of, int32
from targets.kernels.scalar import to_store
from targets.kernels.vector_math import constant
from targets.tvm_api import Buffer, Expr, T, int64, tirx

PIECE = 16  # bytes of one copy, and of one access to shared memory
BANKS = 128  # bytes that shared memory gives at once
STATIC = 48 * 1024  # bytes of shared memory that need no asking for
BATCH = 8  # elements that a thread reads before it stores the first
SIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4,
        "uint32": 4, "int64": 8, "uint64": 8}

Element = Callable[[Expr, Expr, Expr], Expr]  # (batch, row, k)


@dataclass(frozen=True)
class Operand:
    """A matrix [rows, depth] for each batch, of `dtype`.

    load(b, i, k) is an element as an expression, for int64 b, i, k inside of the matrix. along_k: neighbours along k lie together;
    else those along rows, or none. copied: pieces in that direction can be copied as they are.
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


def block_memory(size: int, dtype: str, second: str) -> tuple[Buffer, Buffer]:
    """`size` bytes of shared memory as a buffer of one dtype, and the same bytes as one of another."""
    dynamic = size > STATIC
    memory = device.shared(f"memory_{dtype}", (size // SIZE[dtype],), dtype, dynamic=dynamic)
    scope = "shared.dyn" if dynamic else "shared"
    return memory, T.decl_buffer((size // SIZE[second],), second, data=memory.data, scope=scope)


class Blocks:
    """`stages` blocks of tile_rows x tile_depth elements of an operand in `memory`, from element `base` on."""

    def __init__(self, operand: Operand, tile_rows: int, tile_depth: int, memory: Buffer, base: int) -> None:
        self.operand, self.tile_rows, self.tile_depth = operand, tile_rows, tile_depth
        self.memory, self.base = memory, base
        self.group = PIECE // SIZE[operand.dtype]
        self.lines, self.width = (tile_rows, tile_depth) if operand.along_k else (tile_depth, tile_rows)
        self.pieces = self.width // self.group
        self.elements = self.lines * self.width  # of one block

    def at(self, slot: Expr, row: Expr | int, k: Expr | int) -> Expr:
        """Where an element of a block lies; `row` and `k` are int32, within the block."""
        line, place = (int32(x) for x in self._turned(row, k))
        beside = max(1, BANKS // (PIECE * self.pieces))  # lines that fill all banks
        turn = tirx.floormod(tirx.floordiv(line, beside), min(self.pieces, BANKS // PIECE))
        piece = tirx.bitwise_xor(tirx.floordiv(place, self.group), turn)
        return slot * self.elements + (line * self.width + piece * self.group + tirx.floormod(place, self.group) + self.base)

    def fill(self, slot: Expr, batch: Expr, first: Expr, step: Expr, thread: Expr, threads: int) -> None:
        """Begin to fill a slot with the rows from `first` and the k from `step` on (int64); outside of the matrix it is 0."""

        def one(place: Callable[[Expr, Expr, Expr, Expr], None], width: int, number: Expr) -> None:
            row, k = self._turned(tirx.floordiv(number, width), tirx.floormod(number, width) * (self.width // width))
            place(self.at(slot, row, k), batch, first + tirx.Cast("int64", row), step + tirx.Cast("int64", k))

        if self.operand.copied:
            each_of(self.lines * self.pieces, thread, threads, lambda n: one(self._copy, self.pieces, n))
        else:
            each_of(self.elements, thread, threads, lambda n: one(self._store, self.width, n), at_once=BATCH)

    def _turned(self, a: Expr | int, b: Expr | int) -> tuple[Expr | int, Expr | int]:
        """(row, k) to (line, place in it), and back."""
        return (a, b) if self.operand.along_k else (b, a)

    def _copy(self, target: Expr, batch: Expr, i: Expr, k: Expr) -> None:
        """A piece by an asynchronous copy; what is not read needs an address in the tensor all the same."""
        operand = self.operand
        count: Expr = constant(PIECE, "int32")
        line, place = self._turned(i, k)
        lines, places = self._turned(operand.rows, operand.depth)
        if not divides(self.lines, lines):
            count = tirx.Select(line < lines, count, constant(0, "int32"))
            line = tirx.min(line, lines - int64(1))
        if not divides(self.width, places):
            left = tirx.Cast("int32", tirx.max(tirx.min(places - place, int64(self.group)), int64(0)))
            count = tirx.min(count, left * SIZE[operand.dtype])
            place = tirx.Select(place < places, place, int64(0))
        element = stored_element(operand.load(batch, *self._turned(line, place)))
        assert element is not None
        device.copy_async(device.address(self.memory, target), tirx.address_of(element), count)

    def _store(self, target: Expr, batch: Expr, i: Expr, k: Expr) -> None:
        """An element through a register."""
        operand = self.operand
        value = operand.load(batch, i, k)
        inside = tirx.all(i < operand.rows, k < operand.depth)
        value = tirx.if_then_else(inside, value, constant(0, str(value.ty.dtype)))
        T.buffer_store(self.memory, to_store(value, operand.dtype, target), [target])
