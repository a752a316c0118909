"""Parts of kernels over rows: loops over rows on all threads, loops along a row in vectors, running reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tvm import tirx
from tvm.ir import Expr, TensorLoad
from tvm.script.ir_builder import tirx as T

from targets.codegen import sums
from targets.codegen.opaque import bind, detached
from targets.codegen.scalar import cast
from targets.codegen.vector_math import constant
from targets.cpu.kernels.lane_blocks import int64

Extent: TypeAlias = "int | Expr"
Element = Callable[[Expr], Expr]
Load = Callable[[Expr, Expr], Expr]
Combine = Callable[[Expr, Expr], Expr]

# Waking the worker threads costs some microseconds: about the time in which one core does this many elements.
SERIAL_ELEMENTS = 16384
CHUNK_ELEMENTS, CHUNK_ROWS = 4096, 64


def over_rows(rows: Extent, length: Extent, body: Callable[[Expr], None], scratch: Callable[[], None]) -> None:
    """Emits `body(row)` for every row, in chunks that are spread over threads; `scratch` allocates what one chunk needs.

    Where both extents are known only at run time, a serial and a parallel version are emitted and chosen from there.
    """

    def serial(first: Expr, count: Expr) -> None:
        scratch()
        with T.serial(count) as row:
            body(first + row)

    def parallel() -> None:
        per_chunk = T.bind(_rows_per_chunk(length))
        with T.parallel((int64(rows) + per_chunk - 1) // per_chunk) as chunk:
            first = chunk * per_chunk
            serial(first, tirx.Min(per_chunk, int64(rows) - first))

    if isinstance(rows, int) and isinstance(length, int):
        if rows * length < SERIAL_ELEMENTS:
            serial(int64(0), int64(rows))
        else:
            parallel()
        return
    with T.If(int64(rows) * int64(length) < SERIAL_ELEMENTS):
        with T.Then():
            serial(int64(0), int64(rows))
        with T.Else():
            parallel()


def _rows_per_chunk(length: Extent) -> Expr:
    if isinstance(length, int):
        return int64(max(1, min(CHUNK_ROWS, CHUNK_ELEMENTS // max(length, 1))))
    fitting = tirx.Min(int64(CHUNK_ROWS), int64(CHUNK_ELEMENTS) // tirx.Max(length, int64(1)))
    return tirx.Max(int64(1), fitting)


def vectors(length: Extent, lanes: int, vector: Callable[[Expr, Expr], None], tail: Callable[[Expr], None]) -> None:
    """Emits `vector(j, lane)` for all full groups of lanes, then `tail(j)` for each of the `length % lanes` elements left."""
    whole = length // lanes if isinstance(length, int) else T.bind(length // lanes)
    with T.serial(int64(whole)) as group, T.vectorized(lanes) as v:
        lane = tirx.Cast("int64", v)
        vector(group * lanes + lane, lane)
    with T.serial(int64(length) - int64(whole) * lanes) as j:
        tail(int64(whole) * lanes + j)


def each(length: Extent, lanes: int, body: Callable[[Expr], None]) -> None:
    """Emits `body(j)` for j in 0 .. length - 1, by vectors."""
    vectors(length, lanes, lambda j, lane: body(j), body)


class Accumulator:
    """A running reduction: a vector register (or a few) for the whole groups of lanes and a scalar for the tail.

    `lanes` is a power of two. The order of the operations depends on the length and the lanes alone.
    """

    def __init__(self, lanes: int, dtype: str, start: float, combine: Combine) -> None:
        self.lanes, self.combine = lanes, combine
        # Under 1,024 bytes and "global": kept in registers. The tail has its own, because an index into the vector that is
        # known only at run time would force it into memory.
        self.vector = T.alloc_buffer((lanes,), dtype, scope="global")
        self.scalar = T.alloc_buffer((1,), dtype, scope="global")
        self.start = constant(start, dtype)

    def reduce(self, length: Extent, element: Element, first: Callable[[Expr], None] | None = None) -> Expr:
        """The reduction of `element(j)` over j < length, bound to a name; `first(j)` emits stores before each."""
        self.clear()
        T.buffer_store(self.scalar, self.start, [0])
        vectors(
            length,
            self.lanes,
            lambda j, lane: self.add(self.vector, lane, j, element, first),
            lambda j: self.add(self.scalar, int64(0), j, element, first),
        )
        return T.bind(self.combine(self.folded(), self.scalar[0]))

    def reduce_groups(self, groups: Expr, element: Element) -> Expr:
        """The reduction of `element(j)` over j < groups * lanes, bound to a name."""
        self.clear()
        with T.serial(groups) as group, T.vectorized(self.lanes) as v:
            self.add(self.vector, v, group * self.lanes + tirx.Cast("int64", v), element, None)
        return T.bind(self.folded())

    def clear(self) -> None:
        """Sets all lanes to the start."""
        with T.vectorized(self.lanes) as v:
            T.buffer_store(self.vector, self.start, [v])

    def add(self, into: Expr, index: Expr, j: Expr, element: Element, first: Callable[[Expr], None] | None) -> None:
        """Combines `element(j)` into an accumulator."""
        if first is not None:
            first(j)
        T.buffer_store(into, self.combine(into[index], element(j)), [index])

    def folded(self) -> Expr:
        """All lanes combined, in the first one."""
        half = self.lanes // 2
        while half:
            with T.vectorized(half) as v:
                T.buffer_store(self.vector, self.combine(self.vector[v], self.vector[v + half]), [v])
            half //= 2
        return self.vector[0]


class Sum(Accumulator):
    """A running sum; in f32 it is taken in blocks of `sums.BLOCK` groups of lanes, see there."""

    def __init__(self, lanes: int, dtype: str) -> None:
        super().__init__(lanes, dtype, 0.0, lambda x, y: x + y)
        self.dtype = dtype

    def reduce(self, length: Extent, element: Element, first: Callable[[Expr], None] | None = None) -> Expr:
        """The sum of `element(j)` over j < length, bound to a name; `first(j)` emits stores before each."""
        if not sums.in_blocks(int64(length // self.lanes), self.dtype):
            return super().reduce(length, element, first)
        groups = int64(length // self.lanes) if isinstance(length, int) else bind(length // self.lanes)
        total = T.alloc_buffer((1,), sums.wide(self.dtype), scope="global")

        def vector(group: Expr) -> None:
            with T.vectorized(self.lanes) as v:
                lane = tirx.Cast("int64", v)
                self.add(self.vector, lane, group * self.lanes + lane, element, first)

        def flush() -> None:
            T.buffer_store(total, total[0] + cast(self.folded(), total.dtype), [0])

        T.buffer_store(self.scalar, self.start, [0])
        with T.serial(int64(length) - groups * self.lanes) as j:
            self.add(self.scalar, int64(0), groups * self.lanes + j, element, first)
        T.buffer_store(total, cast(self.scalar[0], total.dtype), [0])
        sums.each_block(groups, self.clear, vector, flush)
        return T.bind(cast(total[0], self.dtype))


class RereadRow:
    """A row that is read more than once: where a read is more than one buffer load, it is kept in a workspace."""

    def __init__(self, length: Extent, load: Load, dtype: str) -> None:
        self.length, self.load, self.dtype = length, load, dtype
        self.values: Expr | None = None

    def scratch(self) -> None:
        """Allocates the workspace, if there is to be one."""
        with detached():
            probe = cast(self.load(tirx.Var("row", "int64"), tirx.Var("j", "int64")), self.dtype)
        plain = isinstance(probe, TensorLoad)
        self.values = None if plain else T.alloc_buffer((self.length,), self.dtype, scope="global")

    def reduce(self, row: Expr, accumulator: Accumulator, of: Element) -> tuple[Expr, Element]:
        """The reduction of `of(x[j])` over the row, and how to read x[j] from then on."""

        def element(j: Expr) -> Expr:
            return cast(self.load(row, j), self.dtype)

        values = self.values
        if values is None:
            return accumulator.reduce(self.length, lambda j: of(element(j))), element

        def keep(j: Expr) -> None:
            T.buffer_store(values, element(j), [j])

        return accumulator.reduce(self.length, lambda j: of(values[j]), first=keep), lambda j: values[j]
