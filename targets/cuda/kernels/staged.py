"""Storing the sums of a product's block: through shared memory, so that neighbours in a row are stored together."""

from __future__ import annotations

from targets.base.tvm_api import Buffer, Expr, T, tirx
from targets.cuda.kernels import device
from targets.cuda.kernels.launch import Place, divides, each_of, when
from targets.cuda.kernels.product import Product

PAD = 8  # elements between two rows, so that the same columns of 4 rows lie in different banks


class Staged:
    """rows x columns sums of a block in `memory`, in `parts` that are added in order."""

    def __init__(self, memory: Buffer, rows: int, columns: int, parts: int = 1) -> None:
        self.memory, self.rows, self.columns, self.parts = memory, rows, columns, parts

    @staticmethod
    def elements(rows: int, columns: int, parts: int = 1) -> int:
        """The number of elements of memory that the sums take."""
        return parts * rows * (columns + PAD)

    def at(self, row: Expr, column: Expr, part: Expr | int = 0) -> Expr:
        """The index of a sum in memory."""
        return (part * self.rows + row) * (self.columns + PAD) + column

    def store(self, product: Product, place: Place) -> None:
        """Stores the sums of a block. All of them must be in memory, and seen by all threads."""
        lanes = product.lanes
        across = self.columns // lanes

        def one(number: Expr, _: Expr) -> None:
            down, along = tirx.floordiv(number, across), tirx.floormod(number, across) * lanes
            i, j = place.row + tirx.Cast("int64", down), place.column + tirx.Cast("int64", along)
            bounds = ((i, product.m, self.rows), (j, product.n, self.columns))
            with when(*(position < size for position, size, part in bounds if not divides(part, size))):
                total = device.registers("total", (lanes,), product.accumulate)
                for part in range(self.parts):
                    with T.vectorized(lanes) as v:
                        value = self.memory[self.at(down, along, part) + v]
                        T.buffer_store(total, total[v] + value if part else value, [v])
                product.store(place.batch, i, j, lambda v: total[v], lanes)

        each_of(self.rows * across, place, one, at_once=2)
