"""What a function about attention asks of its kernel: the arguments of every target's `attention`, from the graph.

Queries, keys and values are elements of their own type, read where they lie; masks and biases are seen as [B, H, Sq, Sk].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from targets.base.tvm_api import Expr, int64, tirx
from targets.codegen.access import as_index
from targets.codegen.anchor import epilogue, find_anchor, plain_place
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from tgraph.ir.dims import DimLike
from tgraph.ir.values import Node, Value
from tgraph.ops.attention import four_axes


def suits_kernels(attention: Node) -> bool:
    """Whether kernels of attention may take a node: they compute in f32, with rows of known sizes."""
    return attention.inputs[0].dtype.name != "f64" and all(isinstance(v.shape[-1], int) for v in attention.inputs[:3])


Read = Callable[[Expr, Expr, Expr, Expr], Expr]
Store = Callable[[Expr, Expr, Expr, Expr, Expr], None]


def padded(builder: KernelBuilder) -> dict[str, Any]:
    """Of `attention(q, k, v, mask, bias, offset)` and the transpose that usually follows."""
    node = find_anchor(builder, "attention")
    q, k, v, mask, bias, offset = node.operands
    assert q is not None and k is not None and v is not None
    access = builder.access

    def spread(value: Value, shape: tuple[DimLike, ...]) -> Read:
        """`value` seen as [B, H, Sq, Sk], with 1 where it does not vary."""
        return lambda *at: access.load(value, tuple((d, p) for d, p in zip(shape, at) if d != 1))

    mask_shape = None if mask is None else four_axes(mask.type)
    read_bias = None if bias is None else spread(bias, (*(1,) * (4 - bias.type.rank), *bias.shape))
    return {
        **_shared(builder, node),
        "batch": builder.size(q.shape[0]), "query_length": builder.size(q.shape[2]), "key_length": builder.size(k.shape[2]),
        "load_q": _reader(builder, q, (0, 1, 2, 3)), "load_k": _reader(builder, k, (0, 1, 2, 3)),
        "load_v": _reader(builder, v, (0, 1, 2, 3)), **_results(builder, node, (0, 1, 2, 3)),
        "offset": None if offset is None else cast(access.load(offset, ()), "int64"),
        "mask": None if mask is None or mask_shape is None else spread(mask, mask_shape),
        "bias": None if read_bias is None else lambda *at: cast(read_bias(*at), "float32"),
        "key_padding": mask_shape is not None and mask_shape[1] == 1 and mask_shape[2] == 1,
    }


def ragged(builder: KernelBuilder) -> dict[str, Any]:
    """Of `ragged_attention(q, k, v, offsets, mask)` and the reshape that usually follows."""
    node = find_anchor(builder, "ragged_attention")
    q, k, v, offsets, mask = node.operands
    assert q is not None and k is not None and v is not None and offsets is not None
    access, rows = builder.access, builder.size(q.shape[0])

    def bound(b: Expr) -> Expr:  # offsets that fall, or leave the rows, are reported; here they must not lead outside
        at = as_index(access.load(offsets, ((offsets.shape[0], b),)))
        return tirx.Max(int64(0), tirx.Min(at, rows))

    def sequence(b: Expr) -> tuple[Expr, Expr]:
        return bound(b), tirx.Max(int64(0), bound(b + int64(1)) - bound(b))

    return {
        **_shared(builder, node),
        "batch": builder.size(offsets.shape[0] - 1), "query_length": rows, "key_length": rows,
        "load_q": _reader(builder, q, (2, 1, 3)), "load_k": _reader(builder, k, (2, 1, 3)),
        "load_v": _reader(builder, v, (2, 1, 3)), **_results(builder, node, (2, 1, 3)),
        "mask": None if mask is None else lambda b, h, i, n: access.load(mask, ((q.shape[0], n),)),
        "key_padding": mask is not None, "sequence": sequence,
    }


def _shared(builder: KernelBuilder, node: Node) -> dict[str, Any]:
    q, k, v = node.inputs[:3]
    heads, kv_heads = q.shape[1], k.shape[1]
    return {
        "heads": builder.size(heads), "group": 1 if heads == kv_heads else int(heads) // int(kv_heads),  # type: ignore[arg-type]
        "head_dim": q.shape[-1], "value_dim": v.shape[-1],
        **{name: node.attrs[name] for name in ("scale", "causal", "empty_row")},
    }


def _reader(builder: KernelBuilder, value: Value, axes: tuple[int, ...]) -> Read:
    """`load(b, h, i, d)`; `axes` says which of these index the value."""
    return lambda *at: builder.access.load(value, tuple(zip(value.shape, (at[a] for a in axes))))


def _results(builder: KernelBuilder, node: Node, axes: tuple[int, ...]) -> dict[str, Any]:
    finish, place = epilogue(builder, node), plain_place(builder, node)

    def index(at: tuple[Expr, ...]) -> tuple[tuple[DimLike, Expr], ...]:
        return tuple(zip(node.result.shape, (at[a] for a in axes)))

    return {"store": lambda *at: finish(index(at[:4]), at[4]),
            "place": None if place is None else lambda *at: place(index(at))}
