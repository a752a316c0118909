"""The tiles of an attention kernel: their sizes, which part of them a thread has, and which keys their queries may attend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen.attention import AttentionSpec
from targets.cuda.kernels.device import WARP, shuffle_xor

PANEL = 16  # rows of a tensor-core product
MINUS_INFINITY = float("-inf")


def padded(dim: int) -> int:
    """A dim as tiles hold it: filled up with zeros to a multiple of 16."""
    return -(-dim // PANEL) * PANEL


@dataclass(frozen=True)
class AttentionTile:
    """`warps` warps have `panels` times 16 queries each; keys come `keys` (a multiple of 16) at a time, in `stages` buffers."""

    warps: int = 4
    panels: int = 1
    keys: int = 64
    stages: int = 2

    @property
    def threads(self) -> int:
        return self.warps * WARP

    @property
    def rows(self) -> int:
        """Queries of which a thread has parts."""
        return 2 * self.panels

    @property
    def queries(self) -> int:
        """Queries of a block."""
        return self.warps * self.panels * PANEL


def key_head(spec: AttentionSpec) -> Expr:
    """The head of keys and values that head h of the queries reads."""
    if spec.group == 1:
        return spec.h
    return tirx.Cast("int64", tirx.truncdiv(tirx.Cast("int32", spec.h), spec.group))


def key_count(spec: AttentionSpec) -> Expr:
    """The number of keys, int32."""
    return tirx.Cast("int32", spec.keys)


def reach(spec: AttentionSpec, query: Expr) -> Expr:
    """How many of the first keys a query may attend by its position, int32."""
    if spec.right is None:
        return key_count(spec)
    return tirx.Cast("int32", tirx.Max(int64(0), tirx.Min(spec.keys, query + spec.offset + int64(spec.right + 1))))


def first_reached(spec: AttentionSpec, query: Expr) -> Expr:
    """The first key that a query may attend by its position, int32; the number of keys if it is none of them."""
    assert spec.left is not None
    return tirx.Cast("int32", tirx.Max(int64(0), tirx.Min(spec.keys, query + spec.offset - int64(spec.left))))


@dataclass(frozen=True)
class Lanes:
    """A thread's part of a block whose first query is `first` (int64).

    As tensor cores lay out sums: of each 16 queries (a panel) the lane has rows group and group + 8, of each 8 columns the
    columns pair and pair + 1. Rows are counted through all panels of the warp: row 2m + 1 is row group + 8 of panel m.
    """

    tile: AttentionTile
    thread: Expr
    first: Expr

    @property
    def lane(self) -> Expr:
        return self.thread % WARP

    @property
    def warp(self) -> Expr:
        return self.thread // WARP

    @property
    def group(self) -> Expr:
        return self.lane // 4

    @property
    def pair(self) -> Expr:
        return self.lane % 4 * 2

    @property
    def start(self) -> Expr:
        """The first row of the warp within the block."""
        return self.warp * (self.tile.panels * PANEL)

    def row(self, row: int) -> Expr:
        """A row of this thread within the block."""
        return self.start + (row // 2 * PANEL + row % 2 * 8) + self.group

    def combine(self, values: Buffer, by: Callable[[Expr, Expr], Expr]) -> None:
        """values[row] of the four lanes that share a row, combined, in each of them."""
        for distance in (1, 2):
            for r in range(self.tile.rows):
                T.buffer_store(values, by(values[r], shuffle_xor(values[r], distance)), [r])

    def query(self, row: Expr | int) -> Expr:
        """The query, int64, at a row of this thread (an int) or of the block (an expression)."""
        return self.first + tirx.Cast("int64", self.row(row) if isinstance(row, int) else row)
