"""Blocked attention with online softmax (FlashAttention, arXiv:2205.14135); the scores never exist as a matrix.

Work is split into tasks: a few panels of 16 queries of one (batch, head), against all of its keys. How keys fall into
blocks does not depend on the split, and panels do not meet: results are bit-identical at any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.cpu.kernels.attention_panel import LANES, AttentionTile, Read
from targets.cpu.kernels.attention_task import AttentionSpec, AttentionTask, Store
from targets.cpu.kernels.lane_blocks import int64
from targets.cpu.kernels.workers import ceil_divide, share, worker_count
from tgraph.ir.errors import CompileError
from tgraph.ops.attention import EmptyRow

__all__ = ["AttentionTile", "attention"]

Sequence = Callable[[Expr], tuple[Expr, Expr]]


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
    sequence: Sequence | None = None,
    tile: AttentionTile | None = None,
) -> None:
    """`store(b, h, i, d, (softmax over the allowed j of scale q k^T + bias) v)`, f32, in an open `T.prim_func()` frame.

    load_q(b, h, i, d), load_k(b, h // group, j, d), load_v(b, h // group, j, d): f32, contiguous in d, of which they
    get vector lanes. mask(b, h, i, j): bool, True = attend; bias(b, h, i, j): f32; both contiguous in j. `key_padding`
    says that the mask depends on (b, j) alone: blocks of keys that it empties are then skipped. `causal` keeps
    j <= i + offset (int64, default 0). A query without an allowed key gives zeros, the mean of all values ("uniform")
    or NaN; with key_length 0 the sum over nothing, 0. Weights of excluded keys are exactly 0. Extents are ints or int64
    and may be 0.

    `sequence(b)` gives the first row and the number of rows of batch b where they lie one after the other: i and j are
    then among these rows, and both lengths theirs, whatever query_length and key_length say.

    CompileError for an unknown empty_row, or key_padding without a mask.
    """
    if empty_row not in get_args(EmptyRow):
        raise CompileError(f"attention: empty_row is one of {', '.join(get_args(EmptyRow))}, not {empty_row!r}")
    if key_padding and mask is None:
        raise CompileError("attention: key_padding describes a mask, and there is none")
    tile = (tile or AttentionTile()).fitting(head_dim, value_dim)
    zero = int64(0)
    padded = AttentionSpec(
        b=zero, h=zero, group=group, queries=T.bind(int64(query_length)), keys=T.bind(int64(key_length)),
        head_dim=head_dim, value_dim=value_dim, load_q=load_q, load_k=load_k, load_v=load_v, store=store,
        scale=scale, causal=causal, offset=bind(zero if offset is None else offset), mask=mask, bias=bias,
        empty_row=empty_row, key_padding=key_padding,
    )  # fmt: skip
    batches, all_heads = (T.bind(int64(e)) for e in (batch, heads))
    total, workers = _Counter(), worker_count()
    with T.serial(batches) as b:
        total.add(all_heads * _head_cost(_of_batch(padded, b, sequence)))
    with T.parallel(workers) as worker:
        low, cost = share(total.value, workers, worker)
        _Share(padded, tile, low, low + cost).emit(batches, all_heads, sequence)


def _of_batch(padded: AttentionSpec, b: Expr, sequence: Sequence | None) -> AttentionSpec:
    """The attention of one batch, with the rows counted from its first one."""
    if sequence is None:
        return replace(padded, b=b)
    first, rows = (bind(e) for e in sequence(b))
    q, k, v, store, mask = padded.load_q, padded.load_k, padded.load_v, padded.store, padded.mask
    return replace(
        padded, b=b, queries=rows, keys=rows,
        load_q=lambda b, h, i, d: q(b, h, first + i, d),
        load_k=lambda b, h, j, d: k(b, h, first + j, d),
        load_v=lambda b, h, j, d: v(b, h, first + j, d),
        store=lambda b, h, i, d, value: store(b, h, first + i, d, value),
        mask=None if mask is None else lambda b, h, i, j: mask(b, h, i, first + j),
    )  # fmt: skip


# Costs, in keys that a panel attends; a panel's transpositions and divisions cost about as much as so many keys.
_PANEL = 12


def _panel_cost(spec: AttentionSpec, panel: Expr) -> Expr:
    return spec.reach((panel + 1) * LANES) + _PANEL


def _head_cost(spec: AttentionSpec) -> Expr:
    panels = ceil_divide(spec.queries, LANES)
    if not spec.causal:
        return panels * (spec.keys + _PANEL)
    total = _Counter()
    with T.serial(panels) as panel:
        total.add(_panel_cost(spec, panel))
    return total.value


class _Counter:
    """An int64 that grows."""

    def __init__(self) -> None:
        self.cell = T.alloc_buffer((1,), "int64", scope="global")
        T.buffer_store(self.cell, int64(0), [0])

    @property
    def value(self) -> Expr:
        return self.cell[0]

    def add(self, amount: Expr) -> None:
        T.buffer_store(self.cell, self.cell[0] + amount, [0])


@dataclass(frozen=True)
class _Share:
    """The panels of one worker: of all in a row, those that begin at a cost of `low` to `high` - 1.

    So the workers finish together, however the lengths differ, and each copies the keys of few heads.
    """

    padded: AttentionSpec
    tile: AttentionTile
    low: Expr
    high: Expr

    def emit(self, batches: Expr, heads: Expr, sequence: Sequence | None) -> None:
        """All tasks of the worker."""
        start = _Counter()
        with T.serial(batches) as b:
            spec = _of_batch(self.padded, b, sequence)
            cost = bind(_head_cost(spec))
            with T.serial(heads) as h:
                with T.If(tirx.And(start.value + cost > self.low, start.value < self.high)), T.Then():
                    self._head(replace(spec, h=h), start.value)
                start.add(cost)

    def _head(self, spec: AttentionSpec, start: Expr) -> None:
        """The tasks in a head whose first panel begins at cost `start`."""
        first, end, at = _Counter(), _Counter(), _Counter()
        at.add(start)
        with T.serial(ceil_divide(spec.queries, LANES)) as panel:
            first.add(tirx.Cast("int64", at.value < self.low))
            end.add(tirx.Cast("int64", at.value < self.high))
            at.add(_panel_cost(spec, panel))
        most = max(1, self.tile.query_block // LANES)
        panels = bind(end.value - first.value)
        tasks = bind(ceil_divide(panels, most))
        with T.serial(tasks) as task:
            begin, count = share(panels, tasks, task)
            AttentionTask(spec, self.tile, most, bind(first.value + begin), count).emit()
