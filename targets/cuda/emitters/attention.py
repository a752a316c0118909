"""Attention in one kernel: views of query, key and value are read where they lie, the output is written where it goes."""

from __future__ import annotations

from targets.base.target import Target
from targets.codegen.anchor import find_anchor
from targets.codegen.attention import padded_spec, ragged_spec
from targets.codegen.kernel_builder import KernelBuilder
from targets.cuda.kernels.attention import attention, fitting_tiles
from targets.cuda.triton.attention import TritonAttention
from tgraph.ir.values import Node


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `attention(q, k, v, mask, bias, offset)` and the transpose that usually follows."""
    spec = padded_spec(builder)
    choice = TritonAttention(builder, target, find_anchor(builder, "attention"), spec)
    own = lambda: builder.notes.extend(attention(spec))
    choice.emit(own) if choice.fits else own()


def emit_ragged(builder: KernelBuilder, target: Target) -> None:
    """Emit `ragged_attention(q, k, v, offsets, mask)` and the reshape that usually follows."""
    builder.notes.extend(attention(ragged_spec(builder)))


def fits(node: Node) -> bool:
    """Whether the shared memory of a GPU holds rows as long as those of an attention; else the op is decomposed."""
    head_dim, value_dim = node.inputs[0].shape[-1], node.inputs[2].shape[-1]
    assert isinstance(head_dim, int) and isinstance(value_dim, int)
    return bool(fitting_tiles(node.result.dtype.numpy_name, head_dim, value_dim))
