"""The inner loops of blocked attention: one panel of queries against one block of keys.

Queries lie on the vector lanes: scores are computed as S^T = K Q^T, outputs as O^T += V^T P^T. Both products read keys
and values by broadcasts, so neither is ever transposed; maximum, exponential and sum run over whole registers without
a horizontal step; and P^T is born in the layout in which the second product reads it.
"""

from __future__ import annotations

import functools
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

PEAK, TOTAL, SEEN = 0, 1, 2  # rows of a panel's state: largest score, sum of powers, is any key allowed
STATE_ROWS = 3
MINUS_INFINITY = float("-inf")


@dataclass(frozen=True)
class AttentionTile:
    """Tile sizes of attention: `keys` (`values`) rows of S^T (O^T), each of `panel` queries, are accumulated in vector registers.

    A task copies `key_block` keys and their values at a time, at most `cache_bytes`, for up to `query_block` queries. Few queries
    go over their keys in vectors of `lanes` elements.
    """

    panel: int = 16
    keys: int = 6
    values: int = 6
    key_block: int = 132
    query_block: int = 128
    cache_bytes: int = 256 * 1024
    lanes: int = 8
    rounding: ClassVar = ("key_block",)  # fields that change how sums are rounded

    def variants(self) -> dict[str, list[int]]:
        """Other values of each field that may be faster on some machine."""
        return {
            "key_block": [self.keys * n for n in (8, 16, 22, 32, 44)],
            "query_block": [32, 64, 128, 256],
        }

    @staticmethod
    def for_target(vector_bits: int, vector_registers: int, l1_bytes: int, l2_bytes: int) -> AttentionTile:
        """The tile for a CPU: accumulators leave four registers to operands, copies of K and V fill half of L2 (or all of L1).

        A row of a tile has at least two registers: a key or a value that is loaded is multiplied as often. With one, the
        loads of eight rows take longer than their products.
        """
        panel = max(16, vector_bits // 16)
        registers_a_row = panel * 32 // vector_bits
        rows = max(1, min(8, (vector_registers - 4) // registers_a_row))
        return AttentionTile(panel, rows, rows, 132 // rows * rows, 128, max(l1_bytes, l2_bytes // 2), vector_bits // 32)

    def fitting(self, head_dim: int, value_dim: int) -> AttentionTile:
        """This tile with `key_block` reduced so that its copy fits `cache_bytes`."""
        most = self.cache_bytes // (4 * max(1, head_dim + value_dim))
        return replace(self, key_block=max(self.keys, min(self.key_block, most // self.keys * self.keys)))


@dataclass(frozen=True)
class PanelBuffers:
    """Buffers of f32, of panels of queries q, out [panels, dim, lanes] and state [panels, 3, lanes], of a block k, v and p."""

    lanes: int
    q: Expr
    out: Expr
    state: Expr
    k: Expr
    v: Expr
    p: Expr


def reach(spec: AttentionSpec, query_end: Expr) -> Expr:
    """The end of the keys that queries before `query_end` may reach."""
    if spec.right is None:
        return spec.keys
    last = tirx.Min(query_end, spec.queries) + spec.offset
    if spec.right:
        last = last + int64(spec.right)
    return bind(tirx.Max(int64(0), tirx.Min(spec.keys, last)))


def first_reached(spec: AttentionSpec, query: Expr) -> Expr:
    """The first key that queries from `query` on may reach."""
    if spec.left is None:
        return int64(0)
    return bind(tirx.Max(int64(0), tirx.Min(spec.keys, query + spec.offset - int64(spec.left))))


# `adjust(raw, j)` changes raw scores into scores of key j of the block (cap, bias, exclusions)
Adjust = Callable[[Expr, Expr], None]


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
    lanes, base = at.lanes, panel * (STATE_ROWS * at.lanes)
    peak, shift, decay, total = (floats(lanes) for _ in range(4))
    with T.vectorized(lanes) as v:
        T.buffer_store(peak, at.state[base + PEAK * lanes + v], [v])
    _scores(at, tile.keys, panel, count, head_dim, peak, adjust)
    with T.vectorized(lanes) as v:
        # where nothing is attended yet, -inf - (-inf) must not make a NaN
        T.buffer_store(shift, tirx.Select(peak[v] == f32(MINUS_INFINITY), f32(0.0), peak[v]), [v])
    with T.vectorized(lanes) as v:
        T.buffer_store(decay, exp_nonpositive(at.state[base + PEAK * lanes + v] - shift[v]), [v])
    fill(total, 0, 0.0, lanes)
    with T.serial(count) as j:
        for first in range(0, lanes, tile.lanes):  # one register at a time: beside more, the exponential's constants find no room
            with T.vectorized(tile.lanes) as lane:
                v = first + lane
                T.buffer_store(at.p, exp_nonpositive(at.p[j * lanes + v] - shift[v]), [j * lanes + v])
            with T.vectorized(tile.lanes) as lane:
                v = first + lane
                T.buffer_store(total, total[v] + at.p[j * lanes + v], [v])
    with T.vectorized(lanes) as v:
        T.buffer_store(at.state, peak[v], [base + PEAK * lanes + v])
    with T.vectorized(lanes) as v:
        sums = base + TOTAL * lanes + v
        T.buffer_store(at.state, at.state[sums] * decay[v] + total[v], [sums])
    whole = value_dim // tile.values
    if whole:
        with T.serial(int64(whole)) as block:
            _outputs(at, panel, count, value_dim, decay, block * tile.values, tile.values)
    if value_dim % tile.values:
        _outputs(at, panel, count, value_dim, decay, int64(whole * tile.values), value_dim % tile.values)


def all_of(conditions: list[Expr]) -> Expr:
    """The conjunction of one or more conditions."""
    return functools.reduce(tirx.And, conditions)


def fill(buffer: Expr, start: Expr | int, value: float, lanes: int) -> None:
    """Sets a row of so many lanes to `value`."""
    with T.vectorized(lanes) as v:
        T.buffer_store(buffer, f32(value), [start + tirx.Cast("int64", v)])


def _scores(
    at: PanelBuffers, rows: int, panel: Expr, count: Expr, head_dim: int, peak: Expr, adjust: Adjust | None
) -> None:
    """p[j, lane] = score, -inf where excluded; raises `peak` to the largest. NaN passes by the peak and stays in p."""
    lanes, base = at.lanes, bind(panel * (head_dim * at.lanes))
    with T.serial((count + rows - 1) // rows) as block:
        acc = [floats(lanes) for _ in range(rows)]
        for row in acc:
            fill(row, 0, 0.0, lanes)
        with T.serial(int64(head_dim)) as d:
            for r, row in enumerate(acc):
                with T.vectorized(lanes) as v:
                    product = at.k[(block * rows + r) * head_dim + d] * at.q[base + d * lanes + v]
                    T.buffer_store(row, row[v] + product, [v])
        for r, row in enumerate(acc):
            if adjust is not None:
                # rows that fill up the last tile are copies of the last key, here too
                adjust(row, bind(tirx.Min(block * rows + r, count - 1)))
            with T.vectorized(lanes) as v:
                T.buffer_store(at.p, row[v], [(block * rows + r) * lanes + v])
            with T.vectorized(lanes) as v:
                T.buffer_store(peak, tirx.Select(row[v] > peak[v], row[v], peak[v]), [v])


def _outputs(at: PanelBuffers, panel: Expr, count: Expr, value_dim: int, decay: Expr, d: Expr, rows: int) -> None:
    """Rows d to d + rows - 1 of out = out * decay + V^T P^T; the block is summed by itself, so that no sum is one long chain."""
    lanes, base = at.lanes, bind((panel * value_dim + d) * at.lanes)
    acc = [floats(lanes) for _ in range(rows)]
    for row in acc:
        fill(row, 0, 0.0, lanes)
    with T.serial(count) as j:
        for r, row in enumerate(acc):
            with T.vectorized(lanes) as v:
                product = at.v[j * value_dim + d + r] * at.p[j * lanes + v]
                T.buffer_store(row, row[v] + product, [v])
    for r, row in enumerate(acc):
        with T.vectorized(lanes) as v:
            before = at.out[base + r * lanes + v]
            T.buffer_store(at.out, before * decay[v] + row[v], [base + r * lanes + v])
