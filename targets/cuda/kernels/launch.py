"""Launching the blocks of a product: their order, names for what is computed once, and loops over what threads share out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.device_extents import on_host
from targets.codegen.vector_math import constant
from targets.cuda.kernels import device

BAND = 8  # rows of tiles whose blocks run side by side, so that they find each other's operands in the second cache


@contextmanager
def unrolled() -> Iterator[None]:
    """A context in which nvcc does what `T.unroll` asks for, so that the source stays short."""
    with T.attr(int32(0), "pragma_unroll_explicit", int32(0)):
        yield


def int32(value: Expr | int) -> Expr:
    """An int32 literal, or the expression that it already is."""
    return constant(value, "int32") if isinstance(value, int) else value


def static(value: Expr) -> int | None:
    """The value of a size that is a constant; None for others."""
    return int(value.value) if isinstance(value, tirx.IntImm) else None


def divides(part: int, size: Expr) -> bool:
    """Whether a size is known to be a multiple of `part`."""
    known = static(size)
    return known is not None and known % part == 0


def ceil_divide(a: Expr, b: Expr | int) -> Expr:
    """a / b rounded up, for int64 a >= 0, b > 0."""
    b = int64(b) if isinstance(b, int) else b
    return tirx.truncdiv(a + (b - int64(1)), b)


def named(value: Expr) -> Expr:
    """`value` under a name, through a register, at which TVM's simplifier stops."""
    cell = device.registers("cell", (1,), str(value.ty.dtype))
    T.buffer_store(cell, value, [0])
    return cell[0]


def rounds_of(size: Expr, part: int) -> Expr:
    """How many parts a size takes, as int32: a literal if it is known."""
    known = static(size)
    return int32(-(-known // part)) if known is not None else named(tirx.Cast("int32", ceil_divide(size, part)))


@contextmanager
def when(*conditions: Expr) -> Iterator[None]:
    """A context whose statements run where all conditions hold."""
    if conditions:
        with T.If(tirx.all(*conditions)), T.Then():
            yield
    else:
        yield


@dataclass(frozen=True)
class Place:
    """The position of a thread: the block's batch, first row and first column (int64), and its own number, out of `threads`."""

    batch: Expr
    row: Expr
    column: Expr
    thread: Expr
    threads: int

    @property
    def warp(self) -> Expr:
        return tirx.floordiv(self.thread, device.WARP)

    @property
    def lane(self) -> Expr:
        return tirx.floormod(self.thread, device.WARP)


@contextmanager
def tiles(batches: Expr, m: Expr, n: Expr, tile: tuple[int, int], threads: int) -> Iterator[Place]:
    """Opens a launch with a block for each tile of [m, n] of each batch (int64)."""
    rows, columns = (ceil_divide(size, part) for size, part in zip((m, n), tile))
    count = batches * rows * columns
    with device.grid(threads, count) as (block, _, _, thread), unrolled(), T.attr(
            int32(0), "tirx.launch_bounds_min_blocks_per_sm", int32(1)), when(  # else nvcc spills to have more blocks
            *([] if on_host(count) is count else [block < count])):
        rows, columns, at = (tirx.Cast("int32", x) for x in (rows, columns, block))
        batch = int32(0) if static(batches) == 1 else named(tirx.truncdiv(at, rows * columns))
        within = at if static(batches) == 1 else named(at - batch * (rows * columns))
        band = named(tirx.truncdiv(within, columns * BAND))
        within = named(within - band * (columns * BAND))
        height = named(tirx.min(rows - band * BAND, int32(BAND)))
        column = named(tirx.truncdiv(within, height))
        row = named(band * BAND + (within - column * height))
        batch, row, column = (tirx.Cast("int64", x) for x in (batch, row, column))
        yield Place(batch, row * int64(tile[0]), column * int64(tile[1]), thread, threads)


def each_of(count: int, place: Place, body: Callable[[Expr, Expr], None], at_once: int = 64) -> None:
    """`body(number, turn)` for all numbers below `count`, shared among the threads of a block: each has one a turn.

    `at_once` turns follow each other without a branch.
    """
    turns = -(-count // place.threads)

    def one(turn: Expr) -> None:
        number = turn * place.threads + place.thread
        with when(*([] if turns * place.threads == count else [number < count])):
            body(number, turn)

    if turns <= at_once:
        with T.unroll(int32(turns)) as turn:
            one(turn)
    else:
        assert turns % at_once == 0
        with T.serial(int32(turns // at_once)) as outer, T.unroll(int32(at_once)) as inner:
            one(outer * at_once + inner)
