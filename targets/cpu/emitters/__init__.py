"""The kernel families of the CPU: each emits the loops of one function graph. A new family is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from targets.base.backend import Emit
from targets.base.target import Target
from targets.base.tvm_api import Expr, T
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.norm import normaliser, quantiser
from targets.codegen.scan import Scan
from targets.codegen.update import Store, updater
from targets.cpu.emitters import attention, linear, matmul, pointwise, quantized, recurrent, reduction
from targets.cpu.kernels import rows
from tgraph.ir.graph import Graph


def _update(builder: KernelBuilder, rows: Expr, columns: Expr, begin: Callable[[], tuple[Expr, Store]]) -> None:
    holds, store = begin()
    with T.If(holds), T.Then():
        pointwise.parallel_loop(
            rows, rows * columns, lambda row: pointwise.vector_loop(columns, lambda column: store(row, column)))


SCAN = Scan(pointwise.parallel_loop, "global")

# anchor op -> family; a function without an anchor is pointwise
FAMILIES: dict[str, Emit] = {
    "linear": linear.emit,
    "integer_linear": quantized.emit,
    "quantize_rows": quantiser(rows.quantize),
    "matmul": matmul.emit,
    "attention": attention.emit,
    "ragged_attention": attention.emit_ragged,
    "softmax": normaliser(rows.softmax),
    "layer_norm": normaliser(rows.layer_norm),
    "rms_norm": normaliser(rows.rms_norm),
    "reduce_sum": reduction.emit,
    "reduce_mean": reduction.emit,
    "reduce_max": reduction.emit,
    "reduce_min": reduction.emit,
    "reduce_prod": reduction.emit,
    "argmax": SCAN.argmax,
    "cumsum": SCAN.cumsum,
    "update_in_place": updater(_update),
    "rnn_scan": recurrent.emit,
    "gru_scan": recurrent.emit,
    "lstm_scan": recurrent.emit,
}

READ_PANELS: set[Emit] = {linear.emit, quantized.emit}  # families whose weight has to be packed

# anchor op -> the parameters of a kernel, a dataclass with `variants()`; `tgraph tune` searches among them
TUNABLE: dict[str, Callable[[Graph, Target], Any]] = {
    "linear": linear.schedule,
    "attention": attention.schedule,
    "ragged_attention": attention.schedule,
}
