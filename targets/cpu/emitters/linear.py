"""Products with packed weights, and all that follows element by element: bias, activation, residual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from targets.base.target import Target
from targets.base.tvm_api import Expr, tirx
from targets.codegen.anchor import accumulator_dtype, epilogue, find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from targets.cpu.kernels.dot_choice import bf16_dot
from targets.cpu.kernels.dots import run, widened_bf16
from targets.cpu.kernels.gemm import GemmTile, gemm
from targets.cpu.kernels.gemm_dot import DotTile, gemm_dot
from targets.cpu.kernels.weights import Integers, Numbers, Weights
from targets.cpu.kernels.words import Words, fits
from targets.lowering.canonical import dequantizes, in_panels, narrow, packed
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import DType, bf16, f64
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Result, Value


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


def panels_for(target: Target, dtype: DType) -> tuple[int, int, int]:
    """The columns of a panel of weights, the steps of k that lie beside each other in it, and what its depth is a multiple of."""
    dots = dot_tile(target, dtype)
    if dots:
        return dots.columns, dots.dot.group, dots.depth
    return tile_for(target, "float64" if dtype == f64 else "float32").columns, 1, 1


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `linear(x, unpack_panels(p), bias)` and its epilogue."""
    node = find_anchor(builder, "linear")
    x, weight, bias = node.operands
    if not (x and weight and in_panels(packed(weight))):
        raise CompileError(f"kernel {builder.function.name}: linear needs a weight in panels")
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
        panels = _panels(builder, packed(weight))
        gemm_dot(m=builder.size(rows), n=columns, k=weight.shape[1], load=load, panels=panels, store=store, tile=dots)
        return
    tile = schedule(builder.function, target)
    builder.notes.append(f"accumulators {tile.rows}x{tile.columns} in registers, k in blocks of {tile.k_block}")
    if dtype != x.dtype.numpy_name:
        builder.notes.append(f"{x.dtype} is widened to f32, since no instruction for its products is known of this CPU")
    weights = _weights(builder, target, weight, tile)
    gemm(m=builder.size(rows), n=columns, load=load, weights=weights, store=store, tile=tile, dtype=dtype)


def _weights(builder: KernelBuilder, target: Target, weight: Value, tile: GemmTile) -> Weights:
    """How the kernel reads a weight in panels."""
    depth = weight.shape[1]
    assert isinstance(depth, int)
    if not (isinstance(weight, Result) and dequantizes(weight)):
        return Numbers(_panels(builder, packed(weight)), depth, tile.columns)
    integers, scale, zero = weight.node.operands
    assert integers is not None and scale is not None
    block, bits = weight.node.attrs["block"], weight.node.attrs["bits"]
    kinds = "one scale" if scale.type.rank == 0 else "a scale for each channel" if block >= depth else f"in blocks of {block}"
    builder.notes.append(f"weights of {bits} bits, {kinds}")
    if fits(depth, block, bits):
        known = zero.data.item() if isinstance(zero, Constant) and zero.data is not None and zero.type.rank == 0 else -1
        whole = known in range(2**bits)
        shift = None if zero is None or whole else _vectors(builder, zero, tile.lanes)
        if has_dots(target, tile.lanes):
            builder.notes.append(f"up to {tile.rows} rows by vpdpbusd, x as integers of three digits")
        return Words(
            _panels(builder, integers), _vectors(builder, scale, tile.lanes), shift, int(known) if whole else 0, depth,
            tile.columns, block, bits, scales=_panels(builder, narrow(scale)) if scale.type.rank else None,
            look_up=target.has("avx512f") and tile.lanes == 16, dots=has_dots(target, tile.lanes))
    shifts = None if zero is None else _factors(builder, zero)
    return Integers(_panels(builder, integers), _factors(builder, scale), shifts, depth, tile.columns, block, bits)


def has_dots(target: Target, lanes: int) -> bool:
    """Whether there is `vpdpbusd` for vectors of so many sums."""
    return (target.has("avx512vnni") and lanes == 16) or (target.has("avxvnni") and lanes == 8)


def _factors(builder: KernelBuilder, value: Value) -> Callable[[Expr], Expr]:
    """What reads scales or zero points at a place of their panels, or the one that is for all."""
    if value.type.rank == 0:
        return lambda _: builder.access.load(value, ())
    panels = _panels(builder, narrow(value))
    return lambda at: cast(panels[at], "float32")


def _vectors(builder: KernelBuilder, value: Value, lanes: int) -> Callable[[Expr], Expr]:
    """The same for vectors."""
    if value.type.rank == 0:
        return lambda _: tirx.Broadcast(builder.access.load(value, ()), lanes)
    stored = narrow(value)
    panels = _panels(builder, stored)

    def read(at: Expr) -> Expr:
        if stored.dtype == bf16:
            return widened_bf16(tirx.reinterpret(f"uint16x{lanes}", run(panels, at, lanes)), lanes)
        return run(panels, at, lanes)

    return read


def _panels(builder: KernelBuilder, unpacked: Value) -> Any:
    """The buffer of the panels that an `unpack_panels` reads."""
    assert isinstance(unpacked, Result)
    return builder.access.buffers[unpacked.node.inputs[0]]
