"""Blocked attention with online softmax (FlashAttention, arXiv:2205.14135); the scores never exist as a matrix.

Work is split into tasks: a few panels of 16 queries of one (batch, head), against all of its keys. How keys fall into
blocks does not depend on the split, and panels do not meet: results are bit-identical at any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.kernels.cpu.attention_panel import LANES, AttentionTile, Read
from targets.kernels.cpu.attention_task import AttentionSpec, AttentionTask, Store
from targets.kernels.cpu.lane_blocks import int64, number
from tgraph.ir.errors import CompileError

__all__ = ["AttentionTile", "attention"]

EMPTY_ROWS = ("zero", "uniform", "nan")
_WANTED_TASKS = 32  # enough to even out over the threads, whose number is not known here


def attention(
    *,
    batch: int | Expr,
    heads: int | Expr,
    group: int,
    query_length: int | Expr,
    key_length: int | Expr,
    head_dim: int,
    value_dim: int,
    load_q: Read,
    load_k: Read,
    load_v: Read,
    store: Store,
    scale: float,
    causal: bool = False,
    offset: Expr | None = None,
    mask: Read | None = None,
    bias: Read | None = None,
    empty_row: str = "zero",
    key_padding: bool = False,
    tile: AttentionTile | None = None,
) -> None:
    """`store(b, h, i, d, (softmax over the allowed j of scale q k^T + bias) v)`, f32, in an open `T.prim_func()` frame.

    load_q(b, h, i, d), load_k(b, h // group, j, d), load_v(b, h // group, j, d): f32, contiguous in d, of which they
    get vector lanes. mask(b, h, i, j): bool, True = attend; bias(b, h, i, j): f32; both contiguous in j. `key_padding`
    says that the mask depends on (b, j) alone: blocks of keys that it empties are then skipped. `causal` keeps
    j <= i + offset (int64, default 0). A query without an allowed key gives zeros, the mean of all values ("uniform")
    or NaN; with key_length 0 the sum over nothing, 0. Weights of excluded keys are exactly 0. Extents are ints or int64
    and may be 0. CompileError for an unknown empty_row, or key_padding without a mask.
    """
    if empty_row not in EMPTY_ROWS:
        raise CompileError(f"attention: empty_row is one of {', '.join(EMPTY_ROWS)}, not {empty_row!r}")
    if key_padding and mask is None:
        raise CompileError("attention: key_padding describes a mask, and there is none")
    tile = (tile or AttentionTile()).fitting(head_dim, value_dim)
    batches, all_heads, queries, keys = (T.bind(int64(e)) for e in (batch, heads, query_length, key_length))
    split = _split(batches * all_heads, T.bind((queries + (LANES - 1)) // LANES), tile)
    with T.parallel(batches * all_heads * split.blocks) as task:
        outer, inner = number(task // split.blocks), number(task % split.blocks)
        if causal:
            # Early queries have few keys: the first block beside the last evens out the threads' shares.
            inner = tirx.Select(inner % 2 == 0, inner // 2, split.blocks - 1 - inner // 2)
        first = number(inner * split.per_task)
        panels = number(tirx.Max(int64(0), tirx.Min(split.per_task, split.panels - first)))
        spec = AttentionSpec(
            b=number(outer // all_heads), h=number(outer % all_heads), group=group, queries=queries, keys=keys,
            head_dim=head_dim, value_dim=value_dim, load_q=load_q, load_k=load_k, load_v=load_v, store=store,
            scale=scale, causal=causal, offset=number(int64(0) if offset is None else offset), mask=mask, bias=bias,
            empty_row=empty_row, key_padding=key_padding,
        )  # fmt: skip
        AttentionTask(spec, tile, split.most, first, panels).emit()


@dataclass(frozen=True)
class _Split:
    """`panels` of queries a head, in `blocks` tasks of `per_task` panels, never more than `most`."""

    panels: Expr
    blocks: Expr
    per_task: Expr
    most: int


def _split(heads: Expr, panels: Expr, tile: AttentionTile) -> _Split:
    """As long tasks as `tile` allows, each copying K and V once, but short ones where there would be few tasks."""
    most, one = max(1, tile.query_block // LANES), int64(1)
    wanted = T.bind(tirx.Max(one, tirx.Min(heads * panels // _WANTED_TASKS, int64(most))))
    blocks = T.bind((panels + wanted - 1) // wanted)
    return _Split(panels, blocks, T.bind((panels + blocks - 1) // tirx.Max(blocks, one)), most)
