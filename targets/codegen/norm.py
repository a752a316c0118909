"""Softmax and normalisations of rows, fused with what makes their operand and what follows; and rows to 8-bit integers.

What a target brings are the kernels over rows; this is how they read and write a function's tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from targets.base.target import Target
from targets.base.tvm_api import Expr, tirx
from targets.codegen.access import Index
from targets.codegen.anchor import accumulator_dtype, epilogue, find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from tgraph.ops.shape import product

Emit = Callable[[KernelBuilder, Target], None]
Kernel = Callable[..., None]


def normaliser(softmax: Kernel, layer_norm: Kernel, rms_norm: Kernel) -> Emit:
    """What emits softmax, layer_norm and rms_norm by these kernels over rows."""
    kernels = {"softmax": softmax, "layer_norm": layer_norm, "rms_norm": rms_norm}
    return lambda builder, target: _normalise(builder, kernels)


def _normalise(builder: KernelBuilder, kernels: dict[str, Kernel]) -> None:
    """One of softmax, layer_norm, rms_norm along an axis, and its epilogue."""
    node = find_anchor(builder, "softmax", "layer_norm", "rms_norm")
    x = node.inputs[0]
    axis = node.attrs.get("axis", -1) % x.type.rank
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
        if node.op.name != "softmax":
            weight, bias = (*node.operands[1:], None)[:2]
            if weight is not None:
                value = value * cast(access.load(weight, ((length, j),)), dtype)
            if bias is not None:
                value = value + cast(access.load(bias, ((length, j),)), dtype)
        finish(index(row, j), value)

    more: dict[str, Any] = {} if node.op.name == "softmax" else {"epsilon": float(node.attrs["epsilon"])}
    rows, columns = builder.size(outer * inner), builder.size(length)
    kernels[node.op.name](rows=rows, length=columns, load=load, store=store, dtype=dtype, **more)


def quantiser(quantize: Kernel) -> Emit:
    """What emits `quantize_rows` by this kernel over rows."""
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
