"""Blocked attention with online softmax (FlashAttention, arXiv:2205.14135); the scores never exist as a matrix.

Work is split into tasks: a few panels of queries of one (batch, head), against all of its keys. How keys fall into
blocks does not depend on the split, and panels do not meet: results are bit-identical at any number of threads. Where a call
has FEW queries at most, as the step of a decoder has, `attention_few` takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.base.tvm_api import structural_equal
from targets.codegen.attention import AttentionSpec
from targets.codegen.opaque import bind
from targets.cpu.kernels.attention_few import FEW, ChunkBuffers, few_queries
from targets.cpu.kernels.attention_panel import AttentionTile, first_reached, reach
from targets.cpu.kernels.attention_task import AttentionTask
from targets.cpu.kernels.lane_blocks import int64
from targets.cpu.kernels.pieces import PIECES, parallel, part_count
from targets.cpu.kernels.workers import ceil_divide, divide, share

__all__ = ["FEW", "AttentionTile", "attention", "has_few_queries"]

MANY = 32  # heads of a part, from which on two pieces may meet within one


def attention(spec: AttentionSpec, tile: AttentionTile | None = None) -> None:
    """Emits the kernel of `spec`, whose operands are f32, in an open `T.prim_func()` frame.

    load_q, load_k and load_v are read in vectors along d, in which they are contiguous; mask and bias along j. Blocks of keys
    that a mask with `key_padding` empties are skipped.
    """
    tile = (tile or AttentionTile()).fitting(spec.head_dim, spec.value_dim)
    few = has_few_queries(spec)
    buffers = None if few is False else ChunkBuffers(spec)
    names = {field: T.bind(getattr(spec, field)) for field in ("batch", "heads", "queries", "keys")}
    spec = replace(spec, **names, offset=bind(spec.offset))
    if buffers is None:
        _panels(spec, tile)
    elif few:
        few_queries(spec, buffers, tile.lanes)
    else:
        with T.If(spec.queries <= FEW):
            with T.Then():
                few_queries(spec, buffers, tile.lanes)
            with T.Else():
                _panels(spec, tile)


def has_few_queries(spec: AttentionSpec) -> bool | None:
    """Whether there are few queries; None if only the call will tell. Attention within whole sequences never counts as that."""
    if spec.sequence is not None or structural_equal(spec.queries, spec.keys):
        return False
    return spec.queries.value <= FEW if isinstance(spec.queries, tirx.IntImm) else None


def _panels(spec: AttentionSpec, tile: AttentionTile) -> None:
    """Emits the kernel for any number of queries."""
    total, parts = _Counter(), part_count()
    with T.serial(spec.batch) as b:
        total.add(spec.heads * _head_cost(_of_batch(spec, b), tile.panel))
    with parallel(parts) as worker:
        worker.each_run(total.value, lambda low, cost: _Piece(spec, tile, low, low + cost).emit(), _pieces(spec, parts))


def _pieces(spec: AttentionSpec, parts: Expr) -> Expr:
    """Pieces of a part: its heads, or some where these are many. Two that met within a head would both copy its keys."""
    heads = bind(spec.batch * spec.heads)
    own = bind(divide(heads, parts))
    return bind(tirx.Select(own > MANY, int64(PIECES), tirx.Select(tirx.EQ(own * parts, heads), tirx.max(own, 1), int64(1))))


def _of_batch(spec: AttentionSpec, b: Expr) -> AttentionSpec:
    """The attention of one batch."""
    spec = replace(spec, b=b)
    return spec if spec.sequence is None else spec.within(*(bind(e) for e in spec.sequence(b)))


# Costs, in keys that a panel attends; a panel's transpositions and divisions cost about as much as so many keys.
_PANEL = 12


def _panel_cost(spec: AttentionSpec, lanes: int, panel: Expr) -> Expr:
    end = reach(spec, (panel + 1) * lanes)
    if spec.left is None:
        return end + _PANEL
    return tirx.Max(int64(0), end - first_reached(spec, panel * lanes)) + _PANEL


def _head_cost(spec: AttentionSpec, lanes: int) -> Expr:
    panels = ceil_divide(spec.queries, lanes)
    if not spec.limited:
        return panels * (spec.keys + _PANEL)
    total = _Counter()
    with T.serial(panels) as panel:
        total.add(_panel_cost(spec, lanes, panel))
    return total.value


class _Counter:
    """An int64 variable that starts at 0 and grows."""

    def __init__(self) -> None:
        self.cell = T.alloc_buffer((1,), "int64", scope="global")
        T.buffer_store(self.cell, int64(0), [0])

    @property
    def value(self) -> Expr:
        return self.cell[0]

    def add(self, amount: Expr) -> None:
        T.buffer_store(self.cell, self.cell[0] + amount, [0])


@dataclass(frozen=True)
class _Piece:
    """The panels of one piece: those that begin at a cost of `low` to `high` - 1, if all panels are worked off one by one.

    So parts take equal times, however the lengths differ, and each copies the keys of few heads.
    """

    spec: AttentionSpec
    tile: AttentionTile
    low: Expr
    high: Expr

    def emit(self) -> None:
        """Emits all tasks of the piece."""
        start = _Counter()
        with T.serial(self.spec.batch) as b:
            spec = _of_batch(self.spec, b)
            cost = bind(_head_cost(spec, self.tile.panel))
            with T.serial(spec.heads) as h:
                with T.If(tirx.And(start.value + cost > self.low, start.value < self.high)), T.Then():
                    self._head(replace(spec, h=h), start.value)
                start.add(cost)

    def _head(self, spec: AttentionSpec, start: Expr) -> None:
        """Emits the tasks in a head whose first panel begins at cost `start`."""
        first, end, at = _Counter(), _Counter(), _Counter()
        at.add(start)
        with T.serial(ceil_divide(spec.queries, self.tile.panel)) as panel:
            first.add(tirx.Cast("int64", at.value < self.low))
            end.add(tirx.Cast("int64", at.value < self.high))
            at.add(_panel_cost(spec, self.tile.panel, panel))
        most = max(1, self.tile.query_block // self.tile.panel)
        panels = bind(end.value - first.value)
        tasks = bind(ceil_divide(panels, most))
        with T.serial(tasks) as task:
            begin, count = share(panels, tasks, task)
            AttentionTask(spec, self.tile, most, bind(first.value + begin), count).emit()
