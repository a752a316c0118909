"""Running sums: a block for a long row, a thread for a short one."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Expr, T, tirx
from targets.codegen.anchor import accumulator_dtype, epilogue, find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from targets.codegen.scan import Scan
from targets.codegen.sums import wide
from targets.cuda.kernels.device import grid
from targets.cuda.kernels.prefix import Prefix
from tgraph.ops.shape import product

THREADS = 256
SHORT = 64


def emit(short: Scan, builder: KernelBuilder, target: Target) -> None:
    """Emit `cumsum` and its epilogue."""
    node = find_anchor(builder, "cumsum")
    x = node.inputs[0]
    axis = node.attrs["axis"] % x.type.rank
    outer, length, inner = product(x.shape[:axis]), x.shape[axis], product(x.shape[axis + 1:])
    if isinstance(length, int) and length <= SHORT:
        short.cumsum(builder, target)
        return
    dtype, finish = accumulator_dtype(x), epilogue(builder, node)
    kept = wide(dtype)
    with grid(THREADS, builder.size(outer * inner)) as (row, _, _, thread):
        o, i = T.bind(tirx.truncdiv(row, builder.size(inner))), T.bind(tirx.truncmod(row, builder.size(inner)))

        def element(j: Expr) -> Expr:
            return cast(builder.access.load(x, ((outer, o), (length, j), (inner, i))), kept)

        def visit(j: Expr, before: Expr, value: Expr) -> None:
            finish(((outer, o), (length, j), (inner, i)), cast(before if node.attrs["exclusive"] else before + value, dtype))

        Prefix(thread, THREADS, builder.size(length), kept).run(element, visit)
