"""Softmax and normalisations of rows, fused with what makes their operand and what follows."""

from __future__ import annotations

from targets.kernels.access import Index
from targets.kernels.cpu import rows as row_kernels
from targets.kernels.cpu.families.anchor import accumulator_dtype, epilogue, find_anchor
from targets.kernels.frame import Frame
from targets.kernels.scalar import cast
from targets.target import Target
from targets.tvm_api import Expr, tirx
from tgraph.ops.shape import product


def emit(frame: Frame, target: Target) -> None:
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

    common = {"rows": frame.size(outer * inner), "length": frame.size(length), "load": load, "store": store, "dtype": dtype}
    if node.op.name == "softmax":
        row_kernels.softmax(**common)
    else:
        kernel = row_kernels.layer_norm if node.op.name == "layer_norm" else row_kernels.rms_norm
        kernel(**common, epsilon=float(node.attrs["epsilon"]))
