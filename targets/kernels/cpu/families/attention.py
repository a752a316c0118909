"""Attention in one kernel: views of query, key and value are read where they lie, the output is written where it goes."""

from __future__ import annotations

from targets.kernels.access import as_index
from targets.kernels.anchor import epilogue, find_anchor
from targets.kernels.cpu.attention import AttentionTile, attention
from targets.kernels.frame import Frame
from targets.kernels.scalar import cast
from targets.target import Target
from targets.tvm_api import Expr, int64, tirx
from tgraph.ir.graph import Graph
from tgraph.ir.values import Value
from tgraph.ops.attention import four_axes


def schedule(function: Graph, target: Target) -> AttentionTile:
    """The tile of a kernel: what tuning found for it, or the target's."""
    default = AttentionTile.for_target(target.vector_bits, target.vector_registers, target.l1_bytes, target.l2_bytes)
    return target.schedules.tile(function, default)


def emit(frame: Frame, target: Target) -> None:
    """`attention(q, k, v, mask, bias, offset)` and the transpose that usually follows."""
    node = find_anchor(frame, "attention")
    q, k, v, mask, bias, offset = node.operands
    assert q is not None and k is not None and v is not None
    access, finish = frame.access, epilogue(frame, node)

    def reader(value: Value):  # type: ignore[no-untyped-def]
        return lambda b, h, i, d: cast(access.load(value, tuple(zip(value.shape, (b, h, i, d)))), "float32")

    def spread(value: Value, shape: tuple[object, ...]):  # type: ignore[no-untyped-def]
        """`value` seen as [B, H, Sq, Sk], with 1 where it does not vary."""
        def load(b: Expr, h: Expr, i: Expr, j: Expr) -> Expr:
            digits = [(d, p) for d, p in zip(shape, (b, h, i, j)) if d != 1]
            return access.load(value, tuple(digits))  # type: ignore[arg-type]
        return load

    def store(b: Expr, h: Expr, i: Expr, d: Expr, value: Expr) -> None:
        finish(tuple(zip(node.result.shape, (b, h, i, d))), value)

    mask_shape = None if mask is None else four_axes(mask.type)
    bias_shape = None if bias is None else (*(1,) * (4 - bias.type.rank), *bias.shape)
    head_dim, value_dim = q.shape[3], v.shape[3]
    assert isinstance(head_dim, int) and isinstance(value_dim, int)
    attention(
        batch=frame.size(q.shape[0]), heads=frame.size(q.shape[1]), group=_group(q, k), query_length=frame.size(q.shape[2]),
        key_length=frame.size(k.shape[2]), head_dim=head_dim, value_dim=value_dim, load_q=reader(q), load_k=reader(k),
        load_v=reader(v), store=store, scale=node.attrs["scale"], causal=node.attrs["causal"],
        offset=None if offset is None else cast(access.load(offset, ()), "int64"),
        mask=None if mask is None or mask_shape is None else spread(mask, mask_shape),
        bias=None if bias is None or bias_shape is None else lambda *at: cast(spread(bias, bias_shape)(*at), "float32"),
        empty_row=node.attrs["empty_row"],
        key_padding=mask_shape is not None and mask_shape[1] == 1 and mask_shape[2] == 1,
        tile=schedule(frame.function, target))


def emit_ragged(frame: Frame, target: Target) -> None:
    """`ragged_attention(q, k, v, offsets, mask)` and the reshape that usually follows."""
    node = find_anchor(frame, "ragged_attention")
    q, k, v, offsets, mask = node.operands
    assert q is not None and k is not None and v is not None and offsets is not None
    access, finish = frame.access, epilogue(frame, node)
    rows, batch = frame.size(q.shape[0]), offsets.shape[0] - 1

    def reader(value: Value):  # type: ignore[no-untyped-def]
        return lambda b, h, n, d: cast(access.load(value, tuple(zip(value.shape, (n, h, d)))), "float32")

    def bound(b: Expr) -> Expr:  # offsets that fall, or leave the rows, are reported; here they must not lead outside
        at = as_index(access.load(offsets, ((offsets.shape[0], b),)))
        return tirx.Max(int64(0), tirx.Min(at, rows))

    def sequence(b: Expr) -> tuple[Expr, Expr]:
        return bound(b), tirx.Max(int64(0), bound(b + int64(1)) - bound(b))

    def store(b: Expr, h: Expr, n: Expr, d: Expr, value: Expr) -> None:
        finish(tuple(zip(node.result.shape, (n, h, d))), value)

    head_dim, value_dim = q.shape[2], v.shape[2]
    assert isinstance(head_dim, int) and isinstance(value_dim, int)
    attention(
        batch=frame.size(batch), heads=frame.size(q.shape[1]), group=_group(q, k), query_length=rows, key_length=rows,
        head_dim=head_dim, value_dim=value_dim, load_q=reader(q), load_k=reader(k), load_v=reader(v), store=store,
        scale=node.attrs["scale"], causal=node.attrs["causal"], empty_row=node.attrs["empty_row"],
        mask=None if mask is None else lambda b, h, i, n: access.load(mask, ((q.shape[0], n),)),
        key_padding=mask is not None, sequence=sequence, tile=schedule(frame.function, target))


def _group(q: Value, k: Value) -> int:
    heads, kv_heads = q.shape[1], k.shape[1]
    return 1 if heads == kv_heads else int(heads) // int(kv_heads)  # type: ignore[arg-type]
