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
from targets.codegen.frame import Frame
from targets.codegen.scalar import cast
from tgraph.ops.shape import product

Emit = Callable[[Frame, Target], None]
Kernel = Callable[..., None]


def normaliser(softmax: Kernel, layer_norm: Kernel, rms_norm: Kernel) -> Emit:
    """What emits softmax, layer_norm and rms_norm by these kernels over rows."""
    kernels = {"softmax": softmax, "layer_norm": layer_norm, "rms_norm": rms_norm}
    return lambda frame, target: _normalise(frame, kernels)


def _normalise(frame: Frame, kernels: dict[str, Kernel]) -> None:
    """One of softmax, layer_norm, rms_norm along an axis, and its epilogue."""
    node = find_anchor(frame, "softmax", "layer_norm", "rms_norm")
    x = node.inputs[0]
    axis = node.attrs.get("axis", -1) % x.type.rank
    dtype = accumulator_dtype(x)
    outer = product(x.shape[:axis])
    inner = product(x.shape[axis + 1:])
    length = x.shape[axis]
    finish = epilogue(frame, node)
    access = frame.access

    def index(row: Expr, j: Expr) -> Index:
        if inner == 1:
            return ((outer, row), (length, j))
        width = frame.size(inner)
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
    kernels[node.op.name](rows=frame.size(outer * inner), length=frame.size(length), load=load, store=store, dtype=dtype, **more)


def quantiser(quantize: Kernel) -> Emit:
    """What emits `quantize_rows` by this kernel over rows."""
    return lambda frame, target: _quantise(frame, quantize)


def _quantise(frame: Frame, quantize: Kernel) -> None:
    """`quantize_rows(x)`: the integers, the factors, or both."""
    node = find_anchor(frame, "quantize_rows")
    x = node.inputs[0]
    rows, length = product(x.shape[:-1]), x.shape[-1]
    names = {value: name for name, value in frame.function.outputs}
    integers, scale = (names.get(result) for result in node.results)

    def row_index(row: Expr, j: Expr) -> Index:
        return ((rows, row), (length, j))

    quantize(rows=frame.size(rows), length=frame.size(length), load=lambda row, j: frame.access.load(x, row_index(row, j)),
             store=None if integers is None else lambda row, j, value: frame.write(integers, row_index(row, j), value),
             store_scale=None if scale is None else lambda row, value: frame.write(scale, ((rows, row),), value))
