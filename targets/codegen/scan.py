"""Emitters of cumsum and argmax: serial along their axis, by the target's parallel loop over the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.target import Target
from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen.access import Index
from targets.codegen.anchor import accumulator_dtype, epilogue, find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast, is_nan
from targets.codegen.sums import wide
from tgraph.ir.dims import DimLike
from tgraph.ir.values import Node
from tgraph.ops.shape import product

Digits = Callable[[Expr], Index]
Loop = Callable[[Expr, Expr, Callable[[Expr], None]], None]


@dataclass(frozen=True)
class Scan:
    """cumsum and argmax for a target.

    `loop(extent, work, body)`: its loop in any order, `work` in elements; `scope`: TVM's scope of memory for single numbers.
    """

    loop: Loop
    scope: str

    def cell(self, dtype: str) -> Buffer:
        """One number that a loop changes."""
        return T.alloc_buffer((1,), dtype, scope=self.scope)

    def cumsum(self, builder: KernelBuilder, target: Target) -> None:
        """Emits `cumsum` and its epilogue."""
        _cumsum(self, builder)

    def argmax(self, builder: KernelBuilder, target: Target) -> None:
        """Emits `argmax` and its epilogue; a NaN is larger than every number, as in NumPy."""
        _argmax(self, builder)

    def rows(self, builder: KernelBuilder, node: Node, row: Callable[[Digits, DimLike, Index], None]) -> None:
        """`row(digits of element j, length, digits of the row)` for every row along the node's axis."""
        x = node.inputs[0]
        axis = node.attrs["axis"] % x.type.rank
        outer, length, inner = product(x.shape[:axis]), x.shape[axis], product(x.shape[axis + 1:])

        def task(t: Expr) -> None:
            o = T.bind(tirx.floordiv(t, builder.size(inner)))
            i = T.bind(tirx.floormod(t, builder.size(inner)))
            row(lambda j: ((outer, o), (length, j), (inner, i)), length, ((outer, o), (inner, i)))

        self.loop(builder.size(outer * inner), builder.size(x.type.size), task)


def _cumsum(scan: Scan, builder: KernelBuilder) -> None:
    node = find_anchor(builder, "cumsum")
    dtype, finish = accumulator_dtype(node.inputs[0]), epilogue(builder, node)
    kept = wide(dtype)  # the running sum: it cannot be taken in blocks

    def row(digits: Digits, length: DimLike, _: Index) -> None:
        total = scan.cell(kept)
        T.buffer_store(total, tirx.const(0, kept), [int64(0)])
        with T.serial(int64(0), builder.size(length)) as j:
            if node.attrs["exclusive"]:
                finish(digits(j), cast(total[int64(0)], dtype))
            T.buffer_store(total, total[int64(0)] + cast(builder.access.load(node.inputs[0], digits(j)), kept), [int64(0)])
            if not node.attrs["exclusive"]:
                finish(digits(j), cast(total[int64(0)], dtype))

    scan.rows(builder, node, row)


def _argmax(scan: Scan, builder: KernelBuilder) -> None:
    node = find_anchor(builder, "argmax")
    finish = epilogue(builder, node)
    dtype = accumulator_dtype(node.inputs[0])
    is_float = node.inputs[0].dtype.is_float

    def row(digits: Digits, length: DimLike, kept: Index) -> None:
        best, where = scan.cell(dtype), scan.cell("int64")
        zero = int64(0)
        T.buffer_store(where, zero, [zero])
        with T.serial(zero, builder.size(length)) as j:
            element = T.bind(cast(builder.access.load(node.inputs[0], digits(j)), dtype))
            larger = element > best[zero]
            if is_float:
                larger = tirx.all(tirx.Not(is_nan(best[zero])), tirx.any(larger, is_nan(element)))
            larger = tirx.any(j == zero, larger)
            with T.If(larger), T.Then():
                T.buffer_store(best, element, [zero])
                T.buffer_store(where, j, [zero])
        finish(kept, where[zero])

    scan.rows(builder, node, row)
