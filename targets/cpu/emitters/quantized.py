"""Products of 8-bit integers with all that follows element by element: factors, bias, activation."""

from __future__ import annotations

from targets.base.target import Target
from targets.codegen.anchor import epilogue, find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.cpu.kernels.dot_choice import integer_dot
from targets.cpu.kernels.gemm_dot import DotTile, gemm_dot
from tgraph.ir.dtypes import u8
from tgraph.ir.errors import CompileError
from tgraph.ir.values import Result
from tgraph.ops.shape import product


def integer_tile(target: Target, *, unsigned: bool = False) -> DotTile:
    """The tile and cache block of products of integers; `unsigned`: of an x of u8, or of i8 that may be far from 0 throughout."""
    dot = integer_dot(target.has, target.vector_bits, unsigned=unsigned)
    return DotTile.for_target(dot, target.vector_registers, target.l2_bytes)


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `integer_linear(x, unpack_panels(p))` and its epilogue."""
    node = find_anchor(builder, "integer_linear")
    x, weight = node.inputs
    if not (isinstance(weight, Result) and weight.node.op.name == "unpack_panels"):
        raise CompileError(f"kernel {builder.function.name}: integer_linear needs a weight in panels")
    rows = product(x.shape[:-1])
    columns, depth = weight.shape
    assert isinstance(columns, int) and isinstance(depth, int)
    finish, tile = epilogue(builder, node), integer_tile(target, unsigned=x.dtype == u8)
    panels = weight.node.inputs[0]
    needed = tile.panels(columns, depth)
    if panels.shape != needed:
        raise CompileError(f"kernel {builder.function.name}: an integer_linear of {x.dtype} reads panels {needed}, "
                           f"not {panels.type}")
    builder.notes.append(tile.note)
    gemm_dot(m=builder.size(rows), n=columns, k=depth, panels=builder.access.buffers[panels],
             load=lambda i, k: builder.access.load(x, ((rows, i), (depth, k))),
             store=lambda i, j, value: finish(((rows, i), (columns, j)), value), tile=tile)
