"""The inner loops of blocked attention: one panel of 16 queries against one block of keys.

Queries lie on the vector lanes: scores are computed as S^T = K Q^T, outputs as O^T += V^T P^T. Both products read keys
and values by broadcasts, so neither is ever transposed; maximum, exponential and sum run over whole registers without
a horizontal step; and P^T is born in the layout in which the second product reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.attention import AttentionSpec
from targets.codegen.opaque import bind
from targets.codegen.vector_math import exp_nonpositive, f32
from targets.cpu.kernels.lane_blocks import floats, int64

LANES = 16  # queries of a panel
PEAK, TOTAL, SEEN = 0, 1, 2  # rows of a panel's state: largest score, sum of powers, is any key allowed
STATE_ROWS = 3
MINUS_INFINITY = float("-inf")


@dataclass(frozen=True)
class AttentionTile:
    """Tile sizes of attention: `keys` (`values`) rows of S^T (O^T), each of 16 queries, are accumulated in vector registers.

    A task copies `key_block` keys and their values at a time, at most `cache_bytes`, for up to `query_block` queries.
    """

    keys: int = 6
    values: int = 6
    key_block: int = 132
    query_block: int = 128
    cache_bytes: int = 256 * 1024
    rounding: ClassVar = ("key_block",)  # fields that change how sums are rounded

    def variants(self) -> dict[str, list[int]]:
        """Other values of each field that may be faster on some machine."""
        return {
            "key_block": [self.keys * n for n in (8, 16, 22, 32, 44)],
            "query_block": [32, 64, 128, 256],
        }

    @staticmethod
    def for_target(vector_bits: int, vector_registers: int, l1_bytes: int, l2_bytes: int) -> AttentionTile:
        """The tile for a CPU: accumulators leave four registers to operands, copies of K and V fill half of L2 (or all of L1)."""
        registers_a_row = max(1, LANES * 32 // vector_bits)
        rows = max(1, min(8, (vector_registers - 4) // registers_a_row))
        return AttentionTile(rows, rows, 132 // rows * rows, 128, max(l1_bytes, l2_bytes // 2))

    def fitting(self, head_dim: int, value_dim: int) -> AttentionTile:
        """This tile with `key_block` reduced so that its copy fits `cache_bytes`."""
        most = self.cache_bytes // (4 * max(1, head_dim + value_dim))
        return replace(self, key_block=max(self.keys, min(self.key_block, most // self.keys * self.keys)))


@dataclass(frozen=True)
class PanelBuffers:
    """Buffers of f32 of a panel: the task's q, out [panels, dim, 16] and state [panels, 3, 16]; the block's k, v and p."""

    q: Expr
    out: Expr
    state: Expr
    k: Expr
    v: Expr
    p: Expr


def reach(spec: AttentionSpec, query_end: Expr) -> Expr:
    """The end of the keys that queries before `query_end` may reach."""
    if not spec.causal:
        return spec.keys
    last = tirx.Min(query_end, spec.queries) + spec.offset
    return bind(tirx.Max(int64(0), tirx.Min(spec.keys, last)))


# `adjust(acc, row, j)` changes row `row` of a tile of raw scores into scores of key j of the block (bias, exclusions)
Adjust = Callable[[Expr, int, Expr], None]


def attend(
    at: PanelBuffers,
    tile: AttentionTile,
    panel: Expr,
    count: Expr,
    head_dim: int,
    value_dim: int,
    adjust: Adjust | None,
) -> None:
    """Adds `count` > 0 keys of the block to a panel: to out, and to its largest score and its sum (online softmax)."""
    base = panel * (STATE_ROWS * LANES)
    peak, shift, decay, total = (floats(LANES) for _ in range(4))
    with T.vectorized(LANES) as v:
        T.buffer_store(peak, at.state[base + PEAK * LANES + v], [v])
    _scores(at, tile.keys, panel, count, head_dim, peak, adjust)
    with T.vectorized(LANES) as v:
        # where nothing is attended yet, -inf - (-inf) must not make a NaN
        T.buffer_store(shift, tirx.Select(peak[v] == f32(MINUS_INFINITY), f32(0.0), peak[v]), [v])
    with T.vectorized(LANES) as v:
        T.buffer_store(decay, exp_nonpositive(at.state[base + PEAK * LANES + v] - shift[v]), [v])
    fill(total, 0, 0.0)
    with T.serial(count) as j:
        with T.vectorized(LANES) as v:
            T.buffer_store(at.p, exp_nonpositive(at.p[j * LANES + v] - shift[v]), [j * LANES + v])
        with T.vectorized(LANES) as v:
            T.buffer_store(total, total[v] + at.p[j * LANES + v], [v])
    with T.vectorized(LANES) as v:
        T.buffer_store(at.state, peak[v], [base + PEAK * LANES + v])
    with T.vectorized(LANES) as v:
        sums = base + TOTAL * LANES + v
        T.buffer_store(at.state, at.state[sums] * decay[v] + total[v], [sums])
    whole = value_dim // tile.values
    if whole:
        with T.serial(int64(whole)) as block:
            _outputs(at, panel, count, value_dim, decay, block * tile.values, tile.values)
    if value_dim % tile.values:
        _outputs(at, panel, count, value_dim, decay, int64(whole * tile.values), value_dim % tile.values)


def fill(buffer: Expr, start: Expr | int, value: float) -> None:
    """Sets a row of 16 lanes to `value`."""
    with T.vectorized(LANES) as v:
        T.buffer_store(buffer, f32(value), [start + tirx.Cast("int64", v)])


def _scores(
    at: PanelBuffers, rows: int, panel: Expr, count: Expr, head_dim: int, peak: Expr, adjust: Adjust | None
) -> None:
    """p[j, lane] = score, -inf where excluded; raises `peak` to the largest. NaN passes by the peak and stays in p."""
    base = bind(panel * (head_dim * LANES))
    with T.serial((count + rows - 1) // rows) as block:
        acc = floats(rows * LANES)
        for r in range(rows):
            fill(acc, r * LANES, 0.0)
        with T.serial(int64(head_dim)) as d:
            for r in range(rows):
                with T.vectorized(LANES) as v:
                    product = at.k[(block * rows + r) * head_dim + d] * at.q[base + d * LANES + v]
                    T.buffer_store(acc, acc[r * LANES + v] + product, [r * LANES + v])
        for r in range(rows):
            if adjust is not None:
                # rows that fill up the last tile are copies of the last key, here too
                adjust(acc, r, bind(tirx.Min(block * rows + r, count - 1)))
            with T.vectorized(LANES) as v:
                T.buffer_store(at.p, acc[r * LANES + v], [(block * rows + r) * LANES + v])
            with T.vectorized(LANES) as v:
                larger = acc[r * LANES + v] > peak[v]
                T.buffer_store(peak, tirx.Select(larger, acc[r * LANES + v], peak[v]), [v])


def _outputs(at: PanelBuffers, panel: Expr, count: Expr, value_dim: int, decay: Expr, d: Expr, rows: int) -> None:
    """Rows d to d + rows - 1 of out = out * decay + V^T P^T; the block is summed by itself, so that no sum is one long chain."""
    acc = floats(rows * LANES)
    base = bind((panel * value_dim + d) * LANES)
    for r in range(rows):
        fill(acc, r * LANES, 0.0)
    with T.serial(count) as j:
        for r in range(rows):
            with T.vectorized(LANES) as v:
                product = at.v[j * value_dim + d + r] * at.p[j * LANES + v]
                T.buffer_store(acc, acc[r * LANES + v] + product, [r * LANES + v])
    for r in range(rows):
        with T.vectorized(LANES) as v:
            before = at.out[base + r * LANES + v]
            T.buffer_store(at.out, before * decay[v] + acc[r * LANES + v], [base + r * LANES + v])
