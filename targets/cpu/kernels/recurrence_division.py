"""How the work of a recurrence is divided among workers: by directions, by blocks of rows, or by units within a team."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from targets.codegen.opaque import bind
from targets.cpu.kernels.workers import ceil_divide, divide, i64

READ = 3  # rows whose products take about as long as reading the weights from the second cache
HANDOVER = 48 * 1024  # bytes of weights that a worker reads in the time that a team takes from step to step
MOST = 256  # groups of workers


@dataclass(frozen=True)
class Division:
    """`groups` of `members` workers each, which take the `blocks` of rows of all directions in turn.

    most: an upper bound of `groups`, which does not depend on the number of workers.
    """

    blocks: Expr
    members: Expr
    groups: Expr
    most: Expr


@dataclass(frozen=True)
class Problem:
    """What a division depends on at compile time.

    rows: of a tile at most; block: of a block at most. panels of a direction, and bytes of one. cache: bytes of weights that a
    worker's own cache keeps from step to step.
    """

    directions: int
    rows: int
    block: int
    panels: int
    panel_bytes: int
    cache: int

    @property
    def caches(self) -> int:
        """How many workers' caches the weights of a direction take."""
        return -(-self.panels * self.panel_bytes // self.cache)

    def divide(self, batch: Expr, workers: Expr) -> Division:
        """Emits the division of a batch.

        Workers alone, with blocks for each of them, do not wait for each other. But each reads all weights of a direction for
        every tile, which takes as long as READ rows. So they form teams where this is less work, with the hand-over of each step
        counted; and as large ones as it takes for the weights of a member to stay in its own cache.
        """
        mates = bind(tirx.max(i64(1), divide(workers, self.directions)))
        whole = bind(tirx.max(i64(1), ceil_divide(batch, self.block)))
        split = bind(ceil_divide(whole, mates) * mates)
        least = bind(tirx.min(workers, i64(self.caches)))
        shared = ceil_divide(i64(self.panels), mates)  # panels of a member
        handover = -(-READ * HANDOVER // self.panel_bytes)
        together = (self._rows(batch, whole) * shared + whole * handover) * mates
        alone = tirx.all(least <= 1, self._rows(batch, split) * self.panels <= together)
        blocks = bind(tirx.Select(alone, split, whole))
        members = bind(tirx.Select(alone, i64(1), tirx.min(i64(self.panels), tirx.max(mates, least))))
        most = tirx.min(i64(MOST), self.directions * tirx.max(i64(1), batch))
        groups = bind(tirx.max(i64(1), tirx.min(tirx.min(blocks * self.directions, most), divide(workers, members))))
        return Division(blocks, members, groups, most)

    def _rows(self, batch: Expr, blocks: Expr) -> Expr:
        """Rows of all tiles; those of a lower tile count as what reading the weights takes."""
        rows = bind(ceil_divide(batch, blocks))
        tiles = bind(tirx.max(i64(1), ceil_divide(rows, self.rows)))
        return bind(blocks * tiles * tirx.max(ceil_divide(rows, tiles), i64(min(READ, self.rows))))
