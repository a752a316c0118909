"""The mean of all values, which is what a query without keys attends where empty rows are uniform."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.attention import AttentionSpec
from targets.codegen.opaque import bind
from targets.cpu.kernels.lane_blocks import int64, run


def mean_of_values(spec: AttentionSpec, mean: Expr) -> None:
    """Emits mean[d] = the mean of all values of (spec.b, spec.h), summed in f64; 0 if there are none."""
    total = T.alloc_buffer((spec.value_dim,), "float64", scope="global")
    key_head = spec.h if spec.group == 1 else bind(spec.h // spec.group)

    def add(j: Expr, d: Expr) -> None:
        T.buffer_store(total, total[d] + tirx.Cast("float64", spec.load_v(spec.b, key_head, j, d)), [d])

    run(spec.value_dim, lambda d: T.buffer_store(total, tirx.const(0, "float64"), [d]))
    with T.serial(spec.keys) as j:
        run(spec.value_dim, lambda d: add(j, d))
    count = tirx.Cast("float64", tirx.Max(spec.keys, int64(1)))
    run(spec.value_dim, lambda d: T.buffer_store(mean, tirx.Cast("float32", total[d] / count), [d]))
