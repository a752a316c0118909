"""Products with few rows, which take as long as it takes to read W: a warp has a few columns, and its lanes share out k.

Each lane sums every 32nd piece of k; the lanes' sums are added pairwise, always in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen.scalar import cast, held, to_store
from targets.codegen.vector_math import constant
from targets.cuda.kernels import device
from targets.cuda.kernels.adjacent import stored_element
from targets.cuda.kernels.launch import divides, int32, rounds_of, static, tiles, when
from targets.cuda.kernels.operand import PIECE, SIZE, Operand
from targets.cuda.kernels.product import Product

WARPS = 4  # of a block
AT_ONCE = 4  # pieces of k that a lane reads before it uses the first


@dataclass(frozen=True)
class RowTile:
    """`rows` x `columns` sums a warp."""

    rows: int
    columns: int = 2


class RowProduct:
    """The kernel of one tile size."""

    def __init__(self, product: Product, tile: RowTile) -> None:
        self.product, self.tile = product, tile
        group = PIECE // SIZE[product.x.dtype]
        pieces = all(operand.copied and operand.along_k for operand in (product.x, product.w)) and divides(group, product.k)
        self.group = group if pieces else 1  # elements of k that are read at once

    def emit(self) -> None:
        """Emits the launch."""
        product, tile = self.product, self.tile
        shape = (tile.rows, WARPS * tile.columns)
        with tiles(product.batches, product.m, product.n, shape, WARPS * device.WARP) as place:
            self.batch, self.row, self.lane = place.batch, place.row, place.lane
            self.column = place.column + tirx.Cast("int64", place.warp * tile.columns)
            self.sums = device.registers("sums", (tile.rows * tile.columns,), product.accumulate)
            with T.unroll(int32(tile.rows * tile.columns)) as i:
                T.buffer_store(self.sums, constant(0, product.accumulate), [i])
            self._multiply()
            self._finish()

    def _multiply(self) -> None:
        product, tile, group = self.product, self.tile, self.group
        span = device.WARP * group  # of k that a warp reads at once
        rounds = rounds_of(product.k, span)
        known = static(rounds)
        together = AT_ONCE if known is None else next(n for n in range(AT_ONCE, 0, -1) if known % n == 0)
        x = device.registers("x", (together * tile.rows * group,), product.x.dtype)
        w = device.registers("w", (together * tile.columns * group,), product.w.dtype)
        with T.serial(tirx.truncdiv(rounds + (together - 1), together)) as outer:
            with T.unroll(int32(together)) as inner:
                k = tirx.Cast("int64", ((outer * together + inner) * device.WARP + self.lane) * group)
                inside = None if divides(span, product.k) else k < product.k
                operands = ((product.w, w, self.column, tile.columns), (product.x, x, self.row, tile.rows))
                for operand, registers, first, count in operands:
                    with T.unroll(int32(count)) as i:
                        at = tirx.min(first + tirx.Cast("int64", i), operand.rows - int64(1))
                        self._read(operand, registers, (inner * count + i) * group, at, k, inside)
            with T.unroll(int32(together)) as inner, T.unroll(int32(tile.rows)) as i, T.unroll(int32(tile.columns)) as j:
                with T.unroll(int32(group)) as v:
                    a, b = (cast(r[(inner * count + at) * group + v], product.accumulate)
                            for r, count, at in ((x, tile.rows, i), (w, tile.columns, j)))
                    T.buffer_store(self.sums, self.sums[i * tile.columns + j] + a * b, [i * tile.columns + j])

    def _read(self, operand: Operand, registers: Buffer, to: Expr, row: Expr, k: Expr, inside: Expr | None) -> None:
        """`group` elements of k, or zeros past its end."""

        def read() -> None:
            element = stored_element(operand.load(self.batch, row, k))
            if self.group > 1 and element is not None:  # as it lies there
                device.copy(device.address(registers, to), tirx.address_of(element), PIECE)
            else:
                value = cast(operand.load(self.batch, row, k), held(operand.dtype))
                T.buffer_store(registers, to_store(value, operand.dtype, to), [to])

        if inside is None:
            read()
            return
        with T.If(inside):
            with T.Then():
                read()
            with T.Else():
                with T.unroll(int32(self.group)) as v:
                    T.buffer_store(registers, constant(0, operand.dtype), [to + v])

    def _finish(self) -> None:
        """Adds what the lanes have; then each of the first lanes stores one sum."""
        product, tile = self.product, self.tile
        count = tile.rows * tile.columns
        with T.unroll(int32(count)) as q:
            for mask in (16, 8, 4, 2, 1):
                T.buffer_store(self.sums, self.sums[q] + device.shuffle_xor(self.sums[q], mask), [q])
        total = device.registers("total", (1,), product.accumulate)
        mine = self.sums[0]
        for q in range(1, count):
            mine = tirx.Select(self.lane == q, self.sums[q], mine)
        T.buffer_store(total, mine, [0])
        i = self.row + tirx.Cast("int64", tirx.floordiv(self.lane, tile.columns))
        j = self.column + tirx.Cast("int64", tirx.floormod(self.lane, tile.columns))
        with when(self.lane < count, i < product.m, j < product.n):
            product.store(self.batch, i, j, lambda _: total[0], 1)
