"""Division of a kernel's work among the workers of TVM's pool, and the index arithmetic that this takes."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind


def i64(value: int) -> Expr:
    """An int64 literal."""
    return tirx.const(value, "int64")


def divide(a: Expr, b: Expr | int) -> Expr:
    """a / b for a >= 0, b > 0: without the case of negative numbers that `//` carries."""
    return tirx.truncdiv(a, i64(b) if isinstance(b, int) else b)


def remainder(a: Expr, b: Expr | int) -> Expr:
    """a mod b for a >= 0, b > 0."""
    return tirx.truncmod(a, i64(b) if isinstance(b, int) else b)


def ceil_divide(a: Expr, b: Expr | int) -> Expr:
    """a / b rounded up, for a >= 0, b > 0."""
    return divide(a + (b - 1), b)


def share(total: Expr, parts: Expr, index: Expr) -> tuple[Any, Any]:
    """First element and length of part `index` of `total` elements cut into `parts` runs that differ by at most one."""
    first = bind(divide(total * index, parts))
    return first, bind(divide(total * (index + 1), parts) - first)


def worker_count() -> Any:
    """How many workers TVM's pool gives a parallel loop, asked at run time."""
    return bind(tirx.Cast("int64", tirx.call_packed("runtime.NumThreads")))


def worker_grid(workers: Expr, rows: Expr, columns: int) -> tuple[Any, Any]:
    """The grid (r, c), r * c <= workers, that makes the largest share of a `rows` x `columns` grid of tiles smallest.

    Among equals, the one with the fewest row parts, which copies least of A. `rows` may be 0, `columns` may not.
    """
    best = T.alloc_buffer((3,), "int64")  # tiles of the largest share, row parts, column parts
    for index, value in enumerate((1 << 60, 0, 1)):
        T.buffer_store(best, i64(value), [index])
    with T.serial(tirx.min(workers, rows)) as r:
        parts = bind(tirx.min(divide(workers, r + 1), i64(columns)))
        tiles = bind(ceil_divide(rows, r + 1) * ceil_divide(i64(columns), parts))
        with T.If(tiles < best[0]), T.Then():
            for index, value in enumerate((tiles, r + 1, parts)):
                T.buffer_store(best, value, [index])
    return T.bind(best[1]), T.bind(best[2])
