"""The kernel families of a GPU: each emits the launches of one function graph. A new family is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from targets.base.backend import Emit
from targets.base.tvm_api import Expr, T, tirx
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.norm import normaliser, quantiser
from targets.codegen.scan import Scan
from targets.codegen.update import Store, updater
from targets.cuda.emitters import attention, cumsum, linear, matmul, recurrent, reduction, unpack
from targets.cuda.kernels import rows
from targets.cuda.kernels.device import each


def _loop(extent: Expr, _: Expr, body: Callable[[Expr], None]) -> None:
    with each(extent) as i:
        body(i)


def _update(builder: KernelBuilder, rows: Expr, columns: Expr, begin: Callable[[], tuple[Expr, Store]]) -> None:
    with each(rows * columns) as i:
        holds, store = begin()
        with T.If(holds), T.Then():
            row = T.bind(tirx.truncdiv(i, columns))
            store(row, T.bind(i - row * columns))


SCAN = Scan(_loop, "local")

# anchor op -> family; a function without an anchor is pointwise
FAMILIES: dict[str, Emit] = {
    "linear": linear.emit,
    "matmul": matmul.emit,
    "attention": attention.emit,
    "ragged_attention": attention.emit_ragged,
    "unpack": unpack.emit,
    "quantize_rows": quantiser(rows.quantize),
    "softmax": normaliser(rows.softmax),
    "layer_norm": normaliser(rows.layer_norm),
    "rms_norm": normaliser(rows.rms_norm),
    "reduce_sum": reduction.emit,
    "reduce_mean": reduction.emit,
    "reduce_max": reduction.emit,
    "reduce_min": reduction.emit,
    "reduce_prod": reduction.emit,
    "argmax": SCAN.argmax,
    "cumsum": partial(cumsum.emit, SCAN),
    "update_in_place": updater(_update),
    "rnn_scan": recurrent.emit,
    "gru_scan": recurrent.emit,
    "lstm_scan": recurrent.emit,
}
