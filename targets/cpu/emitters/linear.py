"""Products with packed weights, and all that follows element by element: bias, activation, residual."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Expr
from targets.codegen.anchor import accumulator_dtype, epilogue, find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from targets.cpu.kernels.dots import bf16_dot
from targets.cpu.kernels.gemm import GemmTile, gemm
from targets.cpu.kernels.gemm_dot import DotTile, gemm_dot
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import DType, bf16, f64
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Result


def tile_for(target: Target, dtype: str) -> GemmTile:
    """The register tile and cache blocks for a target."""
    return GemmTile.for_target(target.vector_bits, target.vector_registers, target.l1_bytes, target.l2_bytes, dtype)


def schedule(function: Graph, target: Target) -> GemmTile:
    """The tile of a kernel: what tuning found for it, or the target's."""
    x = next(n for n in function.nodes if n.op.name == "linear").inputs[0]
    return target.schedules.tile(function, tile_for(target, accumulator_dtype(x)))


def dot_tile(target: Target, dtype: DType) -> DotTile | None:
    """The tile of products in `dtype` where the CPU has an instruction for whole groups of them."""
    dot = bf16_dot(target.has) if dtype == bf16 else None
    return DotTile.for_target(dot, target.vector_registers, target.l2_bytes) if dot else None


def panels_for(target: Target, dtype: DType) -> tuple[int, int]:
    """The number of columns of a panel of weights, and of steps of k that lie beside each other in it."""
    dots = dot_tile(target, dtype)
    return (dots.columns, dots.dot.group) if dots else (tile_for(target, "float64" if dtype == f64 else "float32").columns, 1)


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `linear(x, unpack_panels(p), bias)` and its epilogue."""
    node = find_anchor(builder, "linear")
    x, weight, bias = node.operands
    if isinstance(weight, Result) and weight.node.op.name == "cast":  # stored narrow
        weight = weight.node.inputs[0]
    if not (x and isinstance(weight, Result) and weight.node.op.name == "unpack_panels"):
        raise CompileError(f"kernel {builder.function.name}: linear needs a weight in panels")
    panels = builder.access.buffers[weight.node.inputs[0]]
    rows: DimLike = 1
    for size in x.shape[:-1]:
        rows = rows * size
    depth, columns = x.shape[-1], node.result.shape[-1]
    assert isinstance(columns, int) and isinstance(weight.shape[1], int)
    dtype = accumulator_dtype(x)
    finish = epilogue(builder, node)

    def load(i: Expr, k: Expr) -> Expr:
        return builder.access.load(x, ((rows, i), (depth, k)))

    def store(i: Expr, j: Expr, value: Expr) -> None:
        if bias is not None:
            value = value + cast(builder.access.load(bias, ((columns, j),)), dtype)
        finish(((rows, i), (columns, j)), value)

    dots = dot_tile(target, x.dtype)
    if dots:
        builder.notes.append(dots.note)
        gemm_dot(m=builder.size(rows), n=columns, k=weight.shape[1], load=load, panels=panels, store=store, tile=dots)
        return
    tile = schedule(builder.function, target)
    builder.notes.append(f"accumulators {tile.rows}x{tile.columns} in registers, k in blocks of {tile.k_block}")
    if dtype != x.dtype.numpy_name:
        builder.notes.append(f"{x.dtype} is widened to f32, since no instruction for its products is known of this CPU")
    gemm(m=builder.size(rows), n=columns, k=weight.shape[1], load=load, panels=panels, store=store, tile=tile, dtype=dtype)
