"""Kernels over rows on a GPU: softmax, normalisations, reductions and quantisation along one axis.

A row belongs to one warp, or to a whole block where it is long; its elements lie in registers where their number is static.
Each function opens its launch, inside an open `T.prim_func()` frame. `load(row, j)` gives one element, `store(...)` emits the
stores; both get int64 expressions. The order of every sum depends on the length alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen import sums
from targets.codegen.reduction import OVER_ROWS, Combine
from targets.codegen.scalar import cast, is_nan, maximum
from targets.codegen.square_range import inverse_root, measured_again
from targets.codegen.vector_math import constant, exp, let
from targets.cuda.kernels.device import WARP, barrier, grid, registers, shared, shuffle_xor
from tgraph.ops.quantization import LARGEST, SMALLEST

Load = Callable[[Expr, Expr], Expr]
Store = Callable[[Expr, Expr, Expr], None]
WARPS = 4  # rows of a block, where a warp has a row
HELD = 32  # elements that a thread keeps in registers
UNROLLED = 128  # elements of a thread that are no loop


@dataclass(frozen=True)
class Row:
    """One row, spread over `threads` threads: element j belongs to thread j mod threads."""

    row: Expr
    length: Expr
    thread: Expr
    threads: int

    def each(self, body: Callable[[Expr, Expr], None]) -> None:
        """`body(slot, j)` for this thread's elements; slots count from 0."""
        if isinstance(self.length, tirx.IntImm) and int(self.length.value) <= UNROLLED * self.threads:
            length = int(self.length.value)
            for slot in range(-(-length // self.threads)):
                j = tirx.Cast("int64", self.thread) + int64(slot * self.threads)
                if (slot + 1) * self.threads <= length:
                    body(int64(slot), j)
                else:
                    with T.If(j < self.length), T.Then():
                        body(int64(slot), j)
            return
        with T.serial(int64(0), self._count()) as slot:
            body(slot, self._position(slot))

    def _count(self) -> Expr:
        """How many elements this thread has."""
        return tirx.truncdiv(self.length - tirx.Cast("int64", self.thread) + int64(self.threads - 1), int64(self.threads))

    def _position(self, slot: Expr) -> Expr:
        return slot * int64(self.threads) + tirx.Cast("int64", self.thread)

    def reduce(self, start: Expr, combine: Combine, element: Callable[[Expr, Expr], Expr]) -> Expr:
        """The reduction of all elements of the row, in every thread of it."""
        total = registers("total", (1,), str(start.ty.dtype))
        T.buffer_store(total, start, [0])
        self.each(lambda slot, j: T.buffer_store(total, combine(total[0], element(slot, j)), [0]))
        return self._of_all_threads(total, combine)

    def sum(self, dtype: str, element: Callable[[Expr, Expr], Expr]) -> Expr:
        """The sum of all elements, in every thread; in f32 a thread's are taken in blocks, see `sums`."""
        most = tirx.truncdiv(self.length + int64(self.threads - 1), int64(self.threads))
        static = isinstance(self.length, tirx.IntImm) and int(self.length.value) <= sums.BLOCK * self.threads
        if static or not sums.in_blocks(most, dtype):
            return self.reduce(constant(0, dtype), _add, element)
        block, total = registers("block", (1,), dtype), registers("total", (1,), sums.wide(dtype))
        T.buffer_store(total, constant(0, total.dtype), [0])
        sums.each_block(
            self._count(),
            lambda: T.buffer_store(block, constant(0, dtype), [0]),
            lambda slot: T.buffer_store(block, block[0] + element(slot, self._position(slot)), [0]),
            lambda: T.buffer_store(total, total[0] + cast(block[0], total.dtype), [0]),
        )
        T.buffer_store(block, cast(total[0], dtype), [0])
        return self._of_all_threads(block, _add)

    def _of_all_threads(self, total: Buffer, combine: Combine) -> Expr:
        dtype = total.dtype
        mask = WARP // 2
        while mask:
            other = T.bind(shuffle_xor(total[0], mask))
            T.buffer_store(total, combine(total[0], other), [0])
            mask //= 2
        if self.threads > WARP:
            warps = self.threads // WARP
            partial = shared("partial", (warps,), dtype)
            with T.If(tirx.EQ(self.thread % WARP, 0)), T.Then():
                T.buffer_store(partial, total[0], [self.thread // WARP])
            barrier()
            T.buffer_store(total, partial[0], [0])
            for warp in range(1, warps):
                T.buffer_store(total, combine(total[0], partial[warp]), [0])
        return T.bind(total[0])

    def held(self, load: Load, dtype: str) -> Callable[[Expr, Expr], Expr]:
        """A function that reads element (slot, j): from registers if the elements are few enough, else as `load` does."""

        def read(_: Expr, j: Expr) -> Expr:
            return cast(load(self.row, j), dtype)

        if not isinstance(self.length, tirx.IntImm) or int(self.length.value) > HELD * self.threads:
            return read
        values: Buffer = registers("values", (max(1, -(-int(self.length.value) // self.threads)),), dtype)
        self.each(lambda slot, j: T.buffer_store(values, read(slot, j), [slot]))
        return lambda slot, _: values[slot]


def over_rows(rows: Expr, length: Expr, body: Callable[[Row], None]) -> None:
    """Emits a launch that runs `body` for every row."""
    static = int(length.value) if isinstance(length, tirx.IntImm) else None
    if static is not None and static <= 512:
        with grid(WARPS * WARP, tirx.truncdiv(rows + int64(WARPS - 1), int64(WARPS))) as (block, _, _, thread):
            row = T.bind(block * int64(WARPS) + tirx.Cast("int64", thread // WARP))
            with T.If(row < rows), T.Then():
                body(Row(row, length, thread % WARP, WARP))
        return
    threads = 128 if static is None or static <= 2048 else 256
    with grid(threads, rows) as (row, _, _, thread):
        body(Row(row, length, thread, threads))


def _add(x: Expr, y: Expr) -> Expr:
    return x + y


def softmax(rows: Expr, length: Expr, load: Load, store: Store, dtype: str) -> None:
    """`store(row, j, e^(x[j] - max x) / sum e^(x - max x))`. A NaN or +inf in a row, or nothing but -inf, makes all of it NaN."""
    power = exp if dtype == "float32" else tirx.exp

    def body(row: Row) -> None:
        x = row.held(load, dtype)
        peak = row.reduce(constant(float("-inf"), dtype), maximum, x)
        total = row.sum(dtype, lambda slot, j: power(x(slot, j) - peak))
        scale = T.bind(constant(1.0, dtype) / total)
        row.each(lambda slot, j: store(row.row, j, power(x(slot, j) - peak) * scale))

    over_rows(rows, length, body)


def layer_norm(rows: Expr, length: Expr, load: Load, store: Store, dtype: str, epsilon: float) -> None:
    """`store(row, j, (x[j] - mean) / sqrt(variance + epsilon))` (arXiv:1607.06450) before its scale and shift.

    The variance is that of the centred values: no cancellation where the mean is large.
    """

    def body(row: Row) -> None:
        count, x = cast(length, dtype), row.held(load, dtype)
        mean, scale = registers("mean", (1,), dtype), registers("scale", (1,), dtype)

        def measure(factor: float) -> Expr:
            """Stores mean and scale by way of the values times `factor`; their mean square about their mean."""
            value = x if factor == 1.0 else lambda slot, j: x(slot, j) * constant(factor, dtype)
            centre = T.bind(row.sum(dtype, value) / count)
            mean_square = T.bind(row.sum(dtype, lambda slot, j: let(value(slot, j) - centre, lambda v: v * v)) / count)
            T.buffer_store(mean, centre * constant(1 / factor, dtype), [0])
            T.buffer_store(scale, inverse_root(mean_square, epsilon, factor), [0])
            return mean_square

        measured_again(measure(1.0), epsilon, measure)
        row.each(lambda slot, j: store(row.row, j, (x(slot, j) - mean[0]) * scale[0]))

    over_rows(rows, length, body)


def rms_norm(rows: Expr, length: Expr, load: Load, store: Store, dtype: str, epsilon: float) -> None:
    """`store(row, j, x[j] / sqrt(mean(x^2) + epsilon))`: RMSNorm (arXiv:1910.07467) before its scale."""

    def body(row: Row) -> None:
        x, scale = row.held(load, dtype), registers("scale", (1,), dtype)

        def measure(factor: float) -> Expr:
            """Stores the scale by way of the values times `factor`; their mean square."""
            value = x if factor == 1.0 else lambda slot, j: x(slot, j) * constant(factor, dtype)
            mean_square = T.bind(row.sum(dtype, lambda slot, j: let(value(slot, j), lambda v: v * v)) / cast(length, dtype))
            T.buffer_store(scale, inverse_root(mean_square, epsilon, factor), [0])
            return mean_square

        measured_again(measure(1.0), epsilon, measure)
        row.each(lambda slot, j: store(row.row, j, x(slot, j) * scale[0]))

    over_rows(rows, length, body)


def reduce(rows: Expr, length: Expr, load: Load, store: Callable[[Expr, Expr], None], dtype: str, kind: str) -> None:
    """`store(row, value)` of each row's "sum", "mean", "max", "min" or "prod"; NaN propagates.

    A row of length 0 gives the neutral element (0, NaN for the mean, -inf, inf, 1).
    """
    start, combine = OVER_ROWS[kind]

    def body(row: Row) -> None:
        element = lambda _, j: cast(load(row.row, j), dtype)
        total = row.sum(dtype, element) if kind in ("sum", "mean") else row.reduce(constant(start, dtype), combine, element)
        with T.If(tirx.EQ(row.thread, 0)), T.Then():
            store(row.row, total / cast(length, dtype) if kind == "mean" else total)

    over_rows(rows, length, body)


def quantize(rows: Expr, length: Expr, load: Load, store: Store | None, store_scale: Callable[[Expr, Expr], None] | None) -> None:
    """`store(row, j, q)` of x[j] (127 / peak) rounded to i8, `store_scale(row, peak / 127)`, peak = max |x[j]|.

    The op `quantize_rows`, step by step in f32 as its reference does it, so that the integers are the same.
    """
    largest, smallest, zero = (constant(float(v), "float32") for v in (LARGEST, SMALLEST, 0))

    def to_i8(x: Expr) -> Expr:
        whole = tirx.nearbyint(x)  # to even; NaN gives 0
        return let(whole, lambda v: tirx.Select(is_nan(v), constant(0, "int8"), tirx.Cast("int8", v)))

    def body(row: Row) -> None:
        x = row.held(load, "float32")
        peak = row.reduce(zero, maximum, lambda slot, j: tirx.abs(x(slot, j)))
        if store is not None:
            inverse = T.bind(tirx.Select(peak < smallest, zero, largest / peak))
            row.each(lambda slot, j: store(row.row, j, to_i8(x(slot, j) * inverse)))
        if store_scale is not None:
            with T.If(tirx.EQ(row.thread, 0)), T.Then():
                store_scale(row.row, peak / largest)

    over_rows(rows, length, body)
