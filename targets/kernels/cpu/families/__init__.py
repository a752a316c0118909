"""The kernel families of the CPU: each emits the loops of one function graph. A new family is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from targets.kernels.cpu.families import attention, linear, matmul, norm, pointwise, quantized, reduction, scan
from targets.kernels.frame import Frame
from targets.target import Target
from tgraph.ir.graph import Graph

Emit = Callable[[Frame, Target], None]

# anchor op -> family; a function without an anchor is pointwise
FAMILIES: dict[str, Emit] = {
    "linear": linear.emit,
    "integer_linear": quantized.emit_product,
    "quantize_rows": quantized.emit_rows,
    "matmul": matmul.emit,
    "attention": attention.emit,
    "ragged_attention": attention.emit_ragged,
    "softmax": norm.emit,
    "layer_norm": norm.emit,
    "rms_norm": norm.emit,
    "reduce_sum": reduction.emit,
    "reduce_mean": reduction.emit,
    "reduce_max": reduction.emit,
    "reduce_min": reduction.emit,
    "reduce_prod": reduction.emit,
    "argmax": scan.emit_argmax,
    "cumsum": scan.emit_cumsum,
}

# anchor op -> the parameters of a kernel, a dataclass with `variants()`; `tgraph tune` searches among them
TUNABLE: dict[str, Callable[[Graph, Target], Any]] = {
    "linear": linear.schedule,
    "attention": attention.schedule,
    "ragged_attention": attention.schedule,
}


def kernel(op: str) -> Callable[[Emit], Emit]:
    """Register the emitter of an op: `emit(frame, target)`, called where the kernel's statements go.

    Kernels whose anchor is the op are then emitted by it; see `families.norm` for one to learn from.
    """

    def register(emit: Emit) -> Emit:
        FAMILIES[op] = emit
        return emit

    return register


def family_of(function: Graph) -> Emit:
    """The emitter of a function: that of its anchor."""
    for node in function.nodes:
        if node.op.name in FAMILIES:
            return FAMILIES[node.op.name]
    return pointwise.emit
