"""Parallel loops whose workers take their work piece by piece, so that they end together though one of them is slower.

Each worker has a part of its own, and then takes what is left of the others'. Who computes a piece makes no difference to its
result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.cpu.kernels.workers import ceil_divide, divide, i64, remainder, share, worker_count

PARTS = 255  # at most: TVM keeps an array of less than 1,024 bytes on the stack
PIECES = 8  # of a part, where nothing else divides it
ENOUGH = 4  # pieces of a part, from which on it is not cut by columns too

# Several kernels of a module define this: the linker keeps one.
_LLVM = """
define linkonce_odr i32 @tgraph_take_piece(ptr %taken) alwaysinline {
  %piece = atomicrmw add ptr %taken, i32 1 monotonic
  ret i32 %piece
}
"""


def part_count() -> Expr:
    """How many parts work is cut into at most: one for each worker of TVM's pool."""
    return bind(tirx.min(worker_count(), i64(PARTS)))


class Once:
    """What the pieces of one worker share: made for a row, and again for another one."""

    def __init__(self) -> None:
        self._row = T.alloc_buffer((1,), "int64")
        T.buffer_store(self._row, i64(-1), [0])

    def make(self, row: Expr, emit: Callable[[], None]) -> None:
        """Emits `emit()` for a row that is not the one that it was run for last."""
        with T.If(self._row[0] != row), T.Then():
            emit()
            T.buffer_store(self._row, row, [0])


class Worker:
    """One worker of a loop of `parts` parts, of which it has the one of its number."""

    def __init__(self, parts: Expr, number: Expr, taken: Expr) -> None:
        self.parts, self.number, self.taken = parts, number, taken

    def each(self, part: Callable[[Expr], tuple[Expr, Callable[[Expr], None]]]) -> None:
        """Emits the pieces that this worker takes; `part(number)`: how many pieces a part has, and what emits one."""
        piece = T.alloc_buffer((1,), "int64")
        with T.serial(self.parts) as distance:
            number = bind(remainder(self.number + distance, self.parts))
            count, emit = part(number)

            def take() -> None:
                taken = tirx.call_extern("int32", "tgraph_take_piece", tirx.address_of(self.taken[number]))
                T.buffer_store(piece, tirx.Cast("int64", taken), [0])

            take()
            with T.While(piece[0] < count):
                emit(bind(piece[0]))
                take()

    def each_run(self, total: Expr, emit: Callable[[Expr, Expr], None], pieces: Expr | None = None) -> None:
        """The same for `total` elements, of which a part is one run; `emit(first, count)` emits a piece of it."""

        def part(number: Expr) -> tuple[Expr, Callable[[Expr], None]]:
            start, own = share(total, self.parts, number)
            count = bind(tirx.min(own, i64(PIECES) if pieces is None else pieces))

            def piece(number: Expr) -> None:
                offset, here = share(own, count, number)
                emit(bind(start + offset), here)

            return count, piece

        self.each(part)

    def each_block(self, grid: tuple[Expr, Expr], rows: Expr, columns: int, emit: Callable[..., None], *, high: int, wide: int,
                   always: bool = False) -> None:
        """The same for `rows` x `columns` tiles, of which a part is one rectangle of a `grid` of parts.

        `emit(first row, rows, first column, columns)` emits a piece: at most `high` rows, and all columns of its part, or at most
        `wide` ones where a part would have few pieces, and `always`. Pieces of the same rows follow each other.
        """
        row_parts, column_parts = grid

        def part(number: Expr) -> tuple[Expr, Callable[[Expr], None]]:
            first_row, own_rows = share(rows, row_parts, divide(number, column_parts))
            first_column, own_columns = share(i64(columns), column_parts, remainder(number, column_parts))
            down = bind(ceil_divide(own_rows, high))
            across = ceil_divide(own_columns, wide)
            across = bind(across if always else tirx.Select(down < ENOUGH, across, i64(1)))

            def piece(number: Expr) -> None:
                row, here = share(own_rows, down, divide(number, across))
                column, beside = share(own_columns, across, remainder(number, across))
                emit(bind(first_row + row), here, bind(first_column + column), beside)

            return bind(down * across), piece

        self.each(part)


@contextmanager
def parallel(parts: Expr) -> Iterator[Worker]:
    """A parallel loop over `parts` parts, at most PARTS, whose body is that of the worker given."""
    with T.attr("", "pragma_import_llvm", _LLVM):
        taken = T.alloc_buffer((PARTS,), "int32")
        with T.serial(parts) as part:
            T.buffer_store(taken, tirx.const(0, "int32"), [part])
        with T.parallel(parts) as number:
            yield Worker(parts, number, taken)
