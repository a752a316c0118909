"""Blocked attention with online softmax (FlashAttention, arXiv:2205.14135); the scores never exist as a matrix.

Work is split into tasks: a few panels of 16 queries of one (batch, head), against all of its keys. How keys fall into
blocks does not depend on the split, and panels do not meet: results are bit-identical at any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.attention import AttentionSpec
from targets.codegen.opaque import bind
from targets.cpu.kernels.attention_panel import LANES, AttentionTile, reach
from targets.cpu.kernels.attention_task import AttentionTask
from targets.cpu.kernels.lane_blocks import int64
from targets.cpu.kernels.workers import ceil_divide, share, worker_count

__all__ = ["AttentionTile", "attention"]


def attention(spec: AttentionSpec, tile: AttentionTile | None = None) -> None:
    """Emits the kernel of `spec`, whose operands are f32, in an open `T.prim_func()` frame.

    load_q, load_k and load_v are read in vectors along d, in which they are contiguous; mask and bias along j. Blocks of keys
    that a mask with `key_padding` empties are skipped.
    """
    tile = (tile or AttentionTile()).fitting(spec.head_dim, spec.value_dim)
    spec = replace(spec, queries=T.bind(spec.queries), keys=T.bind(spec.keys), offset=bind(spec.offset))
    batches, heads = (T.bind(extent) for extent in (spec.batch, spec.heads))
    total, workers = _Counter(), worker_count()
    with T.serial(batches) as b:
        total.add(heads * _head_cost(_of_batch(spec, b)))
    with T.parallel(workers) as worker:
        low, cost = share(total.value, workers, worker)
        _Share(spec, tile, low, low + cost).emit(batches, heads)


def _of_batch(spec: AttentionSpec, b: Expr) -> AttentionSpec:
    """The attention of one batch."""
    spec = replace(spec, b=b)
    return spec if spec.sequence is None else spec.within(*(bind(e) for e in spec.sequence(b)))


# Costs, in keys that a panel attends; a panel's transpositions and divisions cost about as much as so many keys.
_PANEL = 12


def _panel_cost(spec: AttentionSpec, panel: Expr) -> Expr:
    return reach(spec, (panel + 1) * LANES) + _PANEL


def _head_cost(spec: AttentionSpec) -> Expr:
    panels = ceil_divide(spec.queries, LANES)
    if not spec.causal:
        return panels * (spec.keys + _PANEL)
    total = _Counter()
    with T.serial(panels) as panel:
        total.add(_panel_cost(spec, panel))
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
class _Share:
    """The panels of one worker: those that begin at a cost of `low` to `high` - 1, if all panels are worked off one by one.

    So the workers finish together, however the lengths differ, and each copies the keys of few heads.
    """

    spec: AttentionSpec
    tile: AttentionTile
    low: Expr
    high: Expr

    def emit(self, batches: Expr, heads: Expr) -> None:
        """Emits all tasks of the worker."""
        start = _Counter()
        with T.serial(batches) as b:
            spec = _of_batch(self.spec, b)
            cost = bind(_head_cost(spec))
            with T.serial(heads) as h:
                with T.If(tirx.And(start.value + cost > self.low, start.value < self.high)), T.Then():
                    self._head(replace(spec, h=h), start.value)
                start.add(cost)

    def _head(self, spec: AttentionSpec, start: Expr) -> None:
        """Emits the tasks in a head whose first panel begins at cost `start`."""
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
