"""Tiles of sums in vector registers, the heights that they may have, and the storing of their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.cpu.kernels.workers import i64

Element = Callable[[Any, int, Any], Expr]  # (row, number of the vector, lane)


def heights(rows: int) -> list[int]:
    """The heights, ascending, for which a kernel with tiles of `rows` rows has a loop; others are rounded up to one of them."""
    return sorted({1, rows, *range(2, rows, 2)})


def rounded(rows: Expr, choices: Sequence[int]) -> Expr:
    """The height of the tile that takes `rows` rows; 0 for 0."""
    result: Expr = i64(choices[-1])
    for height in reversed(choices[:-1]):
        result = tirx.Select(rows <= height, i64(height), result)
    return tirx.Select(rows <= 0, i64(0), result)


def by_height(rows: Expr, choices: Sequence[int], emit: Callable[[int], None]) -> None:
    """Emits a choice of the lowest tile that takes `rows` rows, beginning with a test for the highest."""
    if len(choices) == 1:
        emit(choices[0])
        return
    with T.If(rows > choices[-2]):
        with T.Then():
            emit(choices[-1])
        with T.Else():
            by_height(rows, choices[:-1], emit)


class RegisterTile:
    """`rows` x a few vectors of sums. Each vector's column is a buffer: TVM keeps none of 1,024 bytes in registers."""

    def __init__(self, rows: int, lanes: int, dtype: str, vectors: int = 2) -> None:
        self.rows, self.lanes, self.dtype, self.vectors = rows, lanes, dtype, vectors
        self._columns = [T.alloc_buffer((rows, lanes), dtype) for _ in range(vectors)]

    def __getitem__(self, at: tuple[Any, int, Any]) -> Expr:
        row, vector, lane = at
        return self._columns[vector][row, lane]

    def each(self, emit: Callable[[Any, int, Any], None]) -> None:
        """Emits `emit(row, vector, lane)` for all elements."""
        with T.unroll(self.rows) as i:
            for v in range(self.vectors):
                with T.vectorized(self.lanes) as lane:
                    emit(i, v, lane)

    def set(self, value: Element) -> None:
        """Sets all elements to `value(row, vector, lane)`."""
        self.each(lambda i, v, lane: T.buffer_store(self._columns[v], value(i, v, lane), [i, lane]))

    def add(self, value: Element) -> None:
        """Adds `value(row, vector, lane)` to all elements."""
        self.set(lambda i, v, lane: self[i, v, lane] + value(i, v, lane))

    def clear(self) -> None:
        """Sets all elements to zero."""
        self.set(lambda i, v, lane: tirx.const(0, self.dtype))

    def start(self, resume: Expr | None, value: Element) -> None:
        """Sets all elements to `value` where `resume` (None: never) is true, else to zero."""
        if resume is None:
            self.clear()
            return
        with T.If(resume):
            with T.Then():
                self.set(value)
            with T.Else():
                self.clear()


def each_column(columns: int, lanes: int, store: Callable[[Expr, Any], None]) -> None:
    """Emits `store(first, lane)` for all of `columns` columns, by vectors of `lanes` and a shorter one for the rest."""

    def vector(first: Expr, count: int) -> None:
        with T.vectorized(count) as lane:
            store(first, tirx.Cast("int64", lane))

    if columns >= lanes:
        with T.serial(i64(columns // lanes)) as v:
            vector(v * lanes, lanes)
    if columns % lanes:
        vector(i64(columns // lanes * lanes), columns % lanes)


def each_column_of_panel(last: Expr, n: int, columns: int, lanes: int, store: Callable[[Expr, Any], None]) -> None:
    """Emits `each_column` for a panel of weights; the `last` one of n rows in all may be incomplete."""
    tail = n % columns
    if tail == 0:
        each_column(columns, lanes, store)
        return
    with T.If(last):
        with T.Then():
            each_column(tail, lanes, store)
        with T.Else():
            each_column(columns, lanes, store)
