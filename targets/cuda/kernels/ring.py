"""The shared memory of a product's block: a ring of stages, each with a step of k of both operands, and at the end the sums."""

from __future__ import annotations

from targets.base.tvm_api import Expr, T, int64, tirx
from targets.cuda.kernels import device
from targets.cuda.kernels.launch import Place, int32, rounds_of
from targets.cuda.kernels.operand import SIZE, Blocks
from targets.cuda.kernels.product import Product
from targets.cuda.kernels.staged import Staged

STATIC = 48 * 1024  # bytes that need no asking for


class Ring:
    """`stages` (2^n) stages of rows x depth and columns x depth elements; `parts`: of the sums that are staged in the end.

    Stage t lies in a slot until stage t + stages - 1 is filled. Each stage is one group of asynchronous copies.
    """

    def __init__(self, product: Product, place: Place, tile: tuple[int, int], depth: int, stages: int, parts: int = 1) -> None:
        self.depth, self.stages = depth, stages
        self.ahead = stages - 1  # stages that are on their way while one is used
        rows, columns = tile
        dtype, total = product.x.dtype, product.accumulate
        size = max(stages * (rows + columns) * depth * SIZE[dtype], Staged.elements(rows, columns, parts) * SIZE[total])
        dynamic = size > STATIC
        memory = device.shared(f"memory_{dtype}", (size // SIZE[dtype],), dtype, dynamic=dynamic)
        sums = T.decl_buffer((size // SIZE[total],), total, data=memory.data, scope="shared.dyn" if dynamic else "shared")
        self.staged = Staged(sums, rows, columns, parts)
        self.x = Blocks(product.x, rows, depth, memory, 0, place, place.row)
        self.w = Blocks(product.w, columns, depth, memory, stages * rows * depth, place, place.column)
        self.rounds = rounds_of(product.k, depth)

    def slot(self, stage: Expr) -> Expr:
        """The slot in which a stage lies."""
        return tirx.bitwise_and(stage, int32(self.stages - 1))

    def fill(self, stage: Expr) -> None:
        """Begins to fill a stage, if there is one; it counts as a group of copies anyway."""
        with T.If(stage < self.rounds), T.Then():
            step = tirx.Cast("int64", stage) * int64(self.depth)
            for blocks in (self.x, self.w):
                blocks.fill(self.slot(stage), step)
        device.commit_copies()

    def start(self) -> None:
        """Begins to fill all stages but one."""
        for stage in range(self.ahead):
            self.fill(int32(stage))

    def arrive(self) -> None:
        """Waits, all threads together, for the oldest stage that is on its way."""
        device.wait_copies(self.ahead - 1)
        device.barrier()

    def end(self) -> None:
        """Waits until its memory can be used for the sums."""
        device.wait_copies(0)
        device.barrier()
