"""Attention in one kernel: views of query, key and value are read where they lie, the output is written where it goes."""

from __future__ import annotations

from dataclasses import replace

from targets.base.target import Target
from targets.codegen.attention import AttentionSpec, Read, padded_spec, ragged_spec
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from targets.cpu.kernels.attention import FEW, AttentionTile, attention, has_few_queries
from targets.cpu.kernels.attention_few_chunk import chunk_size
from tgraph.ir.graph import Graph


def schedule(function: Graph, target: Target) -> AttentionTile:
    """The tile of a kernel: what tuning found for it, or the target's."""
    default = AttentionTile.for_target(target.vector_bits, target.vector_registers, target.l1_bytes, target.l2_bytes)
    return target.schedules.tile(function, default)


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `attention(q, k, v, mask, bias, offset)` and the transpose that usually follows."""
    _emit(builder, target, padded_spec(builder))


def emit_ragged(builder: KernelBuilder, target: Target) -> None:
    """Emit `ragged_attention(q, k, v, offsets, mask)` and the reshape that usually follows."""
    _emit(builder, target, ragged_spec(builder))


def _emit(builder: KernelBuilder, target: Target, spec: AttentionSpec) -> None:
    spec = replace(spec, dtype="float32", load_q=_in_f32(spec.load_q), load_k=_in_f32(spec.load_k), load_v=_in_f32(spec.load_v))
    few = has_few_queries(spec)
    if few is not False:
        builder.notes.append(f"{'' if few else f'up to {FEW} '}queries one by one, over chunks of {chunk_size(spec)} keys")
    attention(spec, schedule(builder.function, target))


def _in_f32(read: Read) -> Read:
    return lambda *at: cast(read(*at), "float32")
