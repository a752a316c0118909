"""Kernels over rows: softmax, normalisations and reductions along a contiguous last axis, parallel over the rows.

Each is called inside an open `T.prim_func()` frame. `rows` and `length` are ints or int64 expressions and may be 0.
`load(row, j)` gives one element, `store(...)` emits the stores; both get int64 expressions, of which `j` may hold a
vector lane. The compute dtype is float32 or float64; loads of another dtype are cast to it. `lanes` is a power of two.
A row is always reduced in the same order, so results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen import vector_math
from targets.codegen.opaque import bind
from targets.codegen.reduction import OVER_ROWS
from targets.codegen.scalar import cast, is_nan
from targets.codegen.square_range import inverse_root, measured_again
from targets.codegen.vector_math import constant
from targets.cpu.kernels.lane_blocks import int64
from targets.cpu.kernels.row_loops import Accumulator, Element, Extent, Load, RereadRow, Sum, each, over_rows
from tgraph.ir.errors import CompileError
from tgraph.ops.quantization import LARGEST, SMALLEST

Store = Callable[[Expr, Expr, Expr], None]


def _check(name: str, lanes: int, dtype: str) -> None:
    if dtype not in ("float32", "float64"):
        raise CompileError(f"{name}: rows are computed in float32 or float64, not in {dtype}")
    if lanes < 1 or lanes & (lanes - 1):
        raise CompileError(f"{name}: lanes must be a power of two, not {lanes}")


def _square(x: Expr) -> Expr:
    return vector_math.let(x, lambda v: v * v)


def softmax(*, rows: Extent, length: Extent, load: Load, store: Store, lanes: int = 16, dtype: str = "float32") -> None:
    """`store(row, j, e^(x[j] - max x) / sum e^(x - max x))`, `x[j] = load(row, j)`, which is read once.

    A NaN or +inf in a row, or nothing but -inf, makes all of the row NaN, as the formula does in NumPy.
    """
    _check("softmax", lanes, dtype)
    exp = vector_math.exp_nonpositive if dtype == "float32" else tirx.exp
    workspace: list[Expr] = []

    def scratch() -> None:
        workspace[:] = [T.alloc_buffer((length,), dtype, scope="global")]

    def body(row: Expr) -> None:
        (values,) = workspace
        # a maximum that passes over NaN will do: the NaN is found again by the sum
        greatest = Accumulator(lanes, dtype, float("-inf"), lambda m, x: tirx.Select(x > m, x, m))
        total = Sum(lanes, dtype)

        def keep(j: Expr) -> None:
            T.buffer_store(values, cast(load(row, j), dtype), [j])

        def exponential(j: Expr) -> None:
            T.buffer_store(values, exp(values[j] - peak), [j])

        peak = greatest.reduce(length, lambda j: values[j], first=keep)
        scale = T.bind(constant(1.0, dtype) / total.reduce(length, lambda j: values[j], first=exponential))
        each(length, lanes, lambda j: store(row, j, values[j] * scale))

    over_rows(rows, length, body, scratch)


def layer_norm(
    *, rows: Extent, length: Extent, load: Load, store: Store, epsilon: float, lanes: int = 16, dtype: str = "float32"
) -> None:
    """`store(row, j, (x[j] - mean) / sqrt(variance + epsilon))`, the variance with divisor `length`.

    Layer normalisation (arXiv:1607.06450) before its scale and shift, which `store` applies. The variance is that of
    the centred values: no cancellation where the mean is large.
    """
    _check("layer_norm", lanes, dtype)
    source = RereadRow(length, load, dtype)

    def body(row: Expr) -> None:
        count = cast(int64(length), dtype)
        row_sum, x = source.reduce(row, Sum(lanes, dtype), lambda v: v)

        def mean_square(centre: Expr, of: Element) -> Expr:
            return T.bind(Sum(lanes, dtype).reduce(length, lambda j: _square(of(j) - centre)) / count)

        def again(factor: float) -> None:
            by = constant(factor, dtype)
            centre = T.bind(Sum(lanes, dtype).reduce(length, lambda j: x(j) * by) / count)
            T.buffer_store(mean, centre * constant(1 / factor, dtype), [0])
            T.buffer_store(scale, inverse_root(mean_square(centre, lambda j: x(j) * by), epsilon, factor), [0])

        mean, scale = (T.alloc_buffer((1,), dtype, scope="global") for _ in range(2))
        T.buffer_store(mean, row_sum / count, [0])
        variance = mean_square(mean[0], x)
        T.buffer_store(scale, inverse_root(variance, epsilon), [0])
        measured_again(variance, epsilon, again)
        each(length, lanes, lambda j: store(row, j, (x(j) - mean[0]) * scale[0]))

    over_rows(rows, length, body, source.scratch)


def rms_norm(
    *, rows: Extent, length: Extent, load: Load, store: Store, epsilon: float, lanes: int = 16, dtype: str = "float32"
) -> None:
    """`store(row, j, x[j] / sqrt(mean(x^2) + epsilon))`: RMSNorm (arXiv:1910.07467) before its scale."""
    _check("rms_norm", lanes, dtype)
    source = RereadRow(length, load, dtype)

    def body(row: Expr) -> None:
        count, scale = cast(int64(length), dtype), T.alloc_buffer((1,), dtype, scope="global")
        square_sum, x = source.reduce(row, Sum(lanes, dtype), _square)

        def again(factor: float) -> None:
            by = constant(factor, dtype)
            squares = Sum(lanes, dtype).reduce(length, lambda j: _square(x(j) * by))
            T.buffer_store(scale, inverse_root(squares / count, epsilon, factor), [0])

        mean_square = T.bind(square_sum / count)
        T.buffer_store(scale, inverse_root(mean_square, epsilon), [0])
        measured_again(mean_square, epsilon, again)
        each(length, lanes, lambda j: store(row, j, x(j) * scale[0]))

    over_rows(rows, length, body, source.scratch)


def reduce(
    *,
    rows: Extent,
    length: Extent,
    load: Load,
    store: Callable[[Expr, Expr], None],
    kind: str,
    lanes: int = 16,
    dtype: str = "float32",
) -> None:
    """`store(row, value)` of each row's "sum", "mean", "max", "min" or "prod"; NaN propagates.

    A row of length 0 gives the neutral element (0, NaN for the mean, -inf, inf, 1).
    """
    _check("reduce", lanes, dtype)
    if kind not in OVER_ROWS:
        raise CompileError(f"reduce: unknown kind {kind!r}; known: {', '.join(OVER_ROWS)}")
    start, combine = OVER_ROWS[kind]

    def body(row: Expr) -> None:
        accumulator = Sum(lanes, dtype) if kind in ("sum", "mean") else Accumulator(lanes, dtype, start, combine)
        total = accumulator.reduce(length, lambda j: cast(load(row, j), dtype))
        store(row, total / cast(int64(length), dtype) if kind == "mean" else total)

    over_rows(rows, length, body, lambda: None)


def _larger(x: Expr, y: Expr) -> Expr:
    """The larger of two numbers that are not negative, NaN if either is NaN: their bits have the order of integers."""
    bits = lambda v: tirx.reinterpret("int32", v)
    return tirx.reinterpret("float32", tirx.Max(bits(x), bits(y)))


def _to_i8(x: Expr) -> Expr:
    """An f32 within -127 .. 127, to nearest even; NaN gives 0. (TVM's own `nearbyint` does not vectorise.)"""
    whole = tirx.call_llvm_pure_intrin("float32", "llvm.roundeven", x)
    zero = constant(0, "int32")
    return cast(vector_math.let(whole, lambda v: tirx.Select(is_nan(v), zero, tirx.Cast("int32", v))), "int8")


def quantize(
    *,
    rows: Extent,
    length: Extent,
    load: Load,
    store: Store | None,
    store_scale: Callable[[Expr, Expr], None] | None,
    lanes: int = 16,
) -> None:
    """`store(row, j, q)` of x[j] (127 / peak) rounded to i8, `store_scale(row, peak / 127)`, peak = max |x[j]|.

    The op `quantize_rows`, step by step in f32 as its reference does it, so that the integers are the same.
    """
    source = RereadRow(length, load, "float32")
    largest, smallest = constant(float(LARGEST), "float32"), constant(SMALLEST, "float32")

    def body(row: Expr) -> None:
        factor = bind(row)  # out of sight of TVM's CSE, which fails where `row` is used at several depths
        peak, x = source.reduce(row, Accumulator(lanes, "float32", 0.0, _larger), tirx.abs)
        if store is not None:
            inverse = T.bind(tirx.Select(peak < smallest, constant(0.0, "float32"), largest / peak))
            each(length, lanes, lambda j: store(row, j, _to_i8(x(j) * inverse)))
        if store_scale is not None:
            store_scale(factor, peak / largest)

    over_rows(rows, length, body, source.scratch)
