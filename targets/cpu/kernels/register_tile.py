"""A tile of sums in vector registers: how high it may be, setting it, and handing it on when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.cpu.kernels.workers import i64

Element = Callable[[Any, int, Any], Expr]  # (row, number of the vector, lane)


def heights(rows: int) -> list[int]:
    """Numbers of rows for which there is a loop, ascending, in a kernel whose tiles have `rows`; others are rounded up."""
    return sorted({1, rows, *range(2, rows, 2)})


def rounded(rows: Expr, choices: Sequence[int]) -> Expr:
    """The height of the tile that takes `rows` rows; 0 for 0."""
    result: Expr = i64(choices[-1])
    for height in reversed(choices[:-1]):
        result = tirx.Select(rows <= height, i64(height), result)
    return tirx.Select(rows <= 0, i64(0), result)


def by_height(rows: Expr, choices: Sequence[int], emit: Callable[[int], None]) -> None:
    """`emit` for the lowest tile that takes `rows` rows, the highest tile asked for first."""
    if len(choices) == 1:
        emit(choices[0])
        return
    with T.If(rows > choices[-2]):
        with T.Then():
            emit(choices[-1])
        with T.Else():
            by_height(rows, choices[:-1], emit)


class RegisterTile:
    """`rows` x two vectors of sums. Each vector's column is a buffer: TVM keeps none of 1,024 bytes in registers."""

    def __init__(self, rows: int, lanes: int, dtype: str) -> None:
        self.rows, self.lanes, self.dtype = rows, lanes, dtype
        self._columns = [T.alloc_buffer((rows, lanes), dtype) for _ in range(2)]

    def __getitem__(self, at: tuple[Any, int, Any]) -> Expr:
        row, vector, lane = at
        return self._columns[vector][row, lane]

    def each(self, emit: Callable[[Any, int, Any], None]) -> None:
        """`emit(row, vector, lane)` for all elements."""
        with T.unroll(self.rows) as i:
            for v in range(2):
                with T.vectorized(self.lanes) as lane:
                    emit(i, v, lane)

    def set(self, value: Element) -> None:
        """All elements to `value(row, vector, lane)`."""
        self.each(lambda i, v, lane: T.buffer_store(self._columns[v], value(i, v, lane), [i, lane]))

    def add(self, value: Element) -> None:
        """`value(row, vector, lane)` to all elements."""
        self.set(lambda i, v, lane: self[i, v, lane] + value(i, v, lane))

    def clear(self) -> None:
        """All elements to zero."""
        self.set(lambda i, v, lane: tirx.const(0, self.dtype))

    def start(self, resume: Expr | None, value: Element) -> None:
        """From `value` where `resume` (None: never) is true, else from zero."""
        if resume is None:
            self.clear()
            return
        with T.If(resume):
            with T.Then():
                self.set(value)
            with T.Else():
                self.clear()


def each_column(columns: int, lanes: int, store: Callable[[Expr, Any], None]) -> None:
    """`store(first, lane)` for all of `columns` columns, by vectors of `lanes` and a shorter one for the rest."""

    def vector(first: Expr, count: int) -> None:
        with T.vectorized(count) as lane:
            store(first, tirx.Cast("int64", lane))

    if columns >= lanes:
        with T.serial(i64(columns // lanes)) as v:
            vector(v * lanes, lanes)
    if columns % lanes:
        vector(i64(columns // lanes * lanes), columns % lanes)


def each_column_of_panel(last: Expr, n: int, columns: int, lanes: int, store: Callable[[Expr, Any], None]) -> None:
    """The same for a panel of weights with n rows in all: the one that is `last` has only what is left over."""
    tail = n % columns
    if tail == 0:
        each_column(columns, lanes, store)
        return
    with T.If(last):
        with T.Then():
            each_column(tail, lanes, store)
        with T.Else():
            each_column(columns, lanes, store)
