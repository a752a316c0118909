"""What an attention kernel computes: one `AttentionSpec` for the kernels of all targets, and how a function graph gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from targets.base.tvm_api import Expr, int64, tirx
from targets.codegen.access import as_index
from targets.codegen.anchor import epilogue, find_anchor, plain_place
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from targets.codegen.vector_math import f32, tanh
from tgraph.ir.dims import DimLike
from tgraph.ir.errors import CompileError
from tgraph.ir.values import Node, Value
from tgraph.ops.attention import EmptyRow, four_axes, limits

Read = Callable[[Expr, Expr, Expr, Expr], Expr]
Store = Callable[[Expr, Expr, Expr, Expr, Expr], None]
SequenceRows = Callable[[Expr], tuple[Expr, Expr]]
_ZERO = int64(0)


@dataclass(frozen=True, kw_only=True)
class AttentionSpec:
    """What an attention kernel computes: for each b < batch, h < heads, i < queries and d < value_dim,

        store(b, h, i, d, (softmax over the allowed j of capped(scale q k^T) + bias) v)

    Extents are int64 and may be 0. `group` heads of queries share a head of keys and values.
    load_q(b, h, i, d), load_k(b, h // group, j, d), load_v(b, h // group, j, d): elements of `dtype` (bf16 held as f32).
    capped(s) is softcap tanh(s / softcap), or s if softcap is 0.
    mask(b, h, i, j): bool, True = attend; bias(b, h, i, j): f32. `key_padding` says that the mask depends on (b, j) alone.
    `left` and `right` keep i + offset - left <= j <= i + offset + right (offset: int64), None all on that side. Weights of
    excluded keys are exactly 0. A query without an allowed key gives zeros, the mean of all values ("uniform") or NaN, by
    `empty_row`; if there are no keys at all, the sum over nothing, 0.
    `store` gets f32. place(b, h, i, d): the element of the output that `store` would write unchanged; None if it computes more.

    Ragged batches: `sequence(b)` gives the first row and the number of rows of batch b; `queries` and `keys` are then the numbers
    of rows of all batches together, and i and j of the callables count through all of them.

    b, h: the batch and the head that a part of a kernel is about.

    Raises CompileError for an unknown empty_row, and for key_padding without a mask.
    """

    batch: Expr
    heads: Expr
    group: int
    queries: Expr
    keys: Expr
    head_dim: int
    value_dim: int
    dtype: str
    load_q: Read
    load_k: Read
    load_v: Read
    store: Store
    scale: float
    softcap: float = 0.0
    place: Read | None = None
    left: int | None = None
    right: int | None = None
    offset: Expr = _ZERO
    mask: Read | None = None
    bias: Read | None = None
    empty_row: str = "zero"
    key_padding: bool = False
    sequence: SequenceRows | None = None
    b: Expr = _ZERO
    h: Expr = _ZERO

    def __post_init__(self) -> None:
        if self.empty_row not in get_args(EmptyRow):
            raise CompileError(f"attention: empty_row is one of {', '.join(get_args(EmptyRow))}, not {self.empty_row!r}")
        if self.key_padding and self.mask is None:
            raise CompileError("attention: key_padding describes a mask, and there is none")

    @property
    def excludes(self) -> bool:
        """Whether a query may not attend all keys."""
        return self.limited or self.mask is not None

    @property
    def limited(self) -> bool:
        """Whether a query may not attend all keys because of its place."""
        return self.left is not None or self.right is not None

    def capped(self, score: Expr) -> Expr:
        """A score, f32, within -softcap .. softcap."""
        return tirx.Mul(self.fraction_of_cap(score), f32(self.softcap)) if self.softcap else score

    def fraction_of_cap(self, score: Expr) -> Expr:
        """What a score, f32, is of the softcap once it is capped: tanh(score / softcap)."""
        return tanh(tirx.Mul(score, f32(1 / self.softcap)))

    @property
    def masked_pairs(self) -> bool:
        """Whether the mask has to be read for every pair of query and key."""
        return self.mask is not None and not self.key_padding

    @property
    def reads_pairs(self) -> bool:
        """Whether anything has to be read for every pair of query and key."""
        return self.bias is not None or self.masked_pairs

    def within(self, first: Expr, rows: Expr) -> AttentionSpec:
        """The attention of the sequence with `rows` rows from row `first` on; i and j count from there."""
        q, k, v, store, place, mask = self.load_q, self.load_k, self.load_v, self.store, self.place, self.mask
        return replace(
            self, queries=rows, keys=rows, sequence=None,
            load_q=lambda b, h, i, d: q(b, h, first + i, d),
            load_k=lambda b, h, j, d: k(b, h, first + j, d),
            load_v=lambda b, h, j, d: v(b, h, first + j, d),
            store=lambda b, h, i, d, value: store(b, h, first + i, d, value),
            place=None if place is None else lambda b, h, i, d: place(b, h, first + i, d),
            mask=None if mask is None else lambda b, h, i, j: mask(b, h, i, first + j))


def suits_kernels(attention: Node) -> bool:
    """Whether kernels of attention may take a node: they compute in f32, with rows of known sizes."""
    return attention.inputs[0].dtype.name != "f64" and all(isinstance(v.shape[-1], int) for v in attention.inputs[:3])


def padded_spec(builder: KernelBuilder) -> AttentionSpec:
    """The spec of `attention(q, k, v, mask, bias, offset)` and the transpose that usually follows."""
    node = find_anchor(builder, "attention")
    q, k, v, mask, bias, offset = node.operands
    assert q is not None and k is not None and v is not None
    access = builder.access

    def spread(value: Value, shape: tuple[DimLike, ...]) -> Read:
        """`value` seen as [B, H, Sq, Sk], with 1 where it does not vary."""
        return lambda *at: access.load(value, tuple((d, p) for d, p in zip(shape, at) if d != 1))

    mask_shape = None if mask is None else four_axes(mask.type)
    read_bias = None if bias is None else spread(bias, (*(1,) * (4 - bias.type.rank), *bias.shape))
    return AttentionSpec(
        **_shared(builder, node, (0, 1, 2, 3)),
        batch=builder.size(q.shape[0]), queries=builder.size(q.shape[2]), keys=builder.size(k.shape[2]),
        offset=_ZERO if offset is None else cast(access.load(offset, ()), "int64"),
        mask=None if mask is None or mask_shape is None else spread(mask, mask_shape),
        bias=None if read_bias is None else lambda *at: cast(read_bias(*at), "float32"),
        key_padding=mask_shape is not None and mask_shape[1] == 1 and mask_shape[2] == 1)


def ragged_spec(builder: KernelBuilder) -> AttentionSpec:
    """The spec of `ragged_attention(q, k, v, offsets, mask)` and the reshape that usually follows."""
    node = find_anchor(builder, "ragged_attention")
    q, _, _, offsets, mask = node.operands
    assert q is not None and offsets is not None
    access, rows = builder.access, builder.size(q.shape[0])

    def bound(b: Expr) -> Expr:  # offsets that fall, or leave the rows, are reported; here they must not lead outside
        at = as_index(access.load(offsets, ((offsets.shape[0], b),)))
        return tirx.Max(int64(0), tirx.Min(at, rows))

    def sequence(b: Expr) -> tuple[Expr, Expr]:
        return bound(b), tirx.Max(int64(0), bound(b + int64(1)) - bound(b))

    return AttentionSpec(
        **_shared(builder, node, (2, 1, 3)),
        batch=builder.size(offsets.shape[0] - 1), queries=rows, keys=rows, sequence=sequence,
        mask=None if mask is None else lambda b, h, i, n: access.load(mask, ((q.shape[0], n),)), key_padding=mask is not None)


def _shared(builder: KernelBuilder, node: Node, axes: tuple[int, ...]) -> dict[str, Any]:
    """The fields that both ops have alike; `axes`: which of (b, h, row, d) index their operands and their result."""
    q, k, v = node.inputs[:3]
    heads, kv_heads = q.shape[1], k.shape[1]
    left, right = limits(node.attrs["causal"], node.attrs["window"])
    finish, place = epilogue(builder, node), plain_place(builder, node)

    def index(value: Value, at: tuple[Expr, ...]) -> tuple[tuple[DimLike, Expr], ...]:
        return tuple(zip(value.shape, (at[a] for a in axes)))

    def reader(value: Value) -> Read:
        return lambda *at: builder.access.load(value, index(value, at))

    return {
        "heads": builder.size(heads), "group": 1 if heads == kv_heads else int(heads) // int(kv_heads),  # type: ignore[arg-type]
        "head_dim": q.shape[-1], "value_dim": v.shape[-1], "dtype": node.result.dtype.numpy_name,
        "load_q": reader(q), "load_k": reader(k), "load_v": reader(v),
        "store": lambda *at: finish(index(node.result, at[:4]), at[4]),
        "place": None if place is None else lambda *at: place(index(node.result, at)),
        "left": left, "right": right, **{name: node.attrs[name] for name in ("scale", "softcap", "empty_row")},
    }
