"""Emitters of softmax, of normalisations and of the quantisation of rows: how a target's kernels over rows read and write."""

from __future__ import annotations

from collections.abc import Callable

from targets.base.backend import Emit
from targets.base.tvm_api import Expr, tirx
from targets.codegen.access import Index
from targets.codegen.anchor import accumulator_dtype, epilogue, find_anchor, only_node
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from tgraph.ir.axis_maps import worked_axes
from tgraph.ops.shape import product

Kernel = Callable[..., None]


def normaliser(kernel: Kernel) -> Emit:
    """The emitter of a softmax or a normalisation, by a kernel over rows that computes it without weight and bias."""
    return lambda builder, target: _normalise(builder, kernel)


def _normalise(builder: KernelBuilder, kernel: Kernel) -> None:
    node = only_node(builder, "a row-wise op", lambda op: op.traits.along is not None)
    x, weight, bias = (*node.operands, None, None)[:3]
    assert x is not None
    (axis,) = worked_axes(node)
    dtype = accumulator_dtype(x)
    outer = product(x.shape[:axis])
    inner = product(x.shape[axis + 1:])
    length = x.shape[axis]
    finish = epilogue(builder, node)
    access = builder.access

    def index(row: Expr, j: Expr) -> Index:
        if inner == 1:
            return ((outer, row), (length, j))
        width = builder.size(inner)
        return ((outer, tirx.floordiv(row, width)), (length, j), (inner, tirx.floormod(row, width)))

    def load(row: Expr, j: Expr) -> Expr:
        return cast(access.load(x, index(row, j)), dtype)

    def store(row: Expr, j: Expr, value: Expr) -> None:
        if weight is not None:
            value = value * cast(access.load(weight, ((length, j),)), dtype)
        if bias is not None:
            value = value + cast(access.load(bias, ((length, j),)), dtype)
        finish(index(row, j), value)

    epsilon = {"epsilon": float(node.attrs["epsilon"])} if "epsilon" in node.attrs else {}
    kernel(rows=builder.size(outer * inner), length=builder.size(length), load=load, store=store, dtype=dtype, **epsilon)


def quantiser(quantize: Kernel) -> Emit:
    """The emitter of `quantize_rows`, by a kernel over rows."""
    return lambda builder, target: _quantise(builder, quantize)


def _quantise(builder: KernelBuilder, quantize: Kernel) -> None:
    """`quantize_rows(x)`: the integers, the factors, or both."""
    node = find_anchor(builder, "quantize_rows")
    x = node.inputs[0]
    rows, length = product(x.shape[:-1]), x.shape[-1]
    names = {value: name for name, value in builder.function.outputs}
    integers, scale = (names.get(result) for result in node.results)

    def row_index(row: Expr, j: Expr) -> Index:
        return ((rows, row), (length, j))

    quantize(rows=builder.size(rows), length=builder.size(length), load=lambda row, j: builder.access.load(x, row_index(row, j)),
             store=None if integers is None else lambda row, j, value: builder.write(integers, row_index(row, j), value),
             store_scale=None if scale is None else lambda row, value: builder.write(scale, ((rows, row),), value))
