"""The kernel families of a GPU: each emits the launches of one function graph. A new family is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from targets.base.backend import Emit
from targets.base.tvm_api import Expr
from targets.codegen.norm import normaliser, quantiser
from targets.codegen.scan import Scan
from targets.cuda.emitters import attention, cumsum, linear, matmul, reduction, unpack
from targets.cuda.kernels import rows
from targets.cuda.kernels.device import each


def _loop(extent: Expr, _: Expr, body: Callable[[Expr], None]) -> None:
    with each(extent) as i:
        body(i)


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
}
