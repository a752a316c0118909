"""What follows a product element by element, for neighbouring columns at once: they are read and written in one access each.

The arithmetic stays scalar, in a loop over the columns that nvcc unrolls; only what lies together in memory, at a place that is
a multiple of the number of columns, goes through registers as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen.access import Index
from targets.codegen.anchor import forward
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.opaque import detached
from targets.codegen.scalar import cast, held, hold, to_store
from targets.cuda.kernels import device
from targets.cuda.kernels.adjacent import multiple, steps
from targets.cuda.kernels.launch import int32
from targets.cuda.kernels.operand import PIECE, SIZE
from targets.cuda.kernels.product import LANES, Values
from tgraph.ir.values import Node, Value

Columns = Callable[[Expr], Index]  # lane (int64) -> where the anchor's result is
Reader = Callable[[Buffer, Expr], Expr]  # (tensor, place) -> its element


class Epilogue:
    """The way from an anchor's result to the function's output; `first(index, sum)` makes the result of a sum."""

    def __init__(self, builder: KernelBuilder, anchor: Node, first: Callable[[Index, Expr], Expr]) -> None:
        self.builder, self.anchor, self.first = builder, anchor, first
        self.name, self.output = builder.output

    def wide(self, columns: Columns) -> bool:
        """Whether LANES columns can be stored at once, the first of which is a multiple of LANES."""
        zero, lane = int64(0), tirx.Var("lane", "int64")
        size = SIZE.get(str(self.builder.outputs[self.name].dtype), PIECE)
        return size * LANES <= PIECE and self._together(self._place(columns(zero)), self._place(columns(lane)), lane)

    def store(self, columns: Columns, values: Values, count: int) -> None:
        """Emits the stores of `count` columns (1, or LANES if `wide`), given their sums as `values(lane)`."""
        target = self.builder.outputs[self.name]
        if count == 1:
            at = self._place(columns(int64(0)))
            value = self._value(columns(int64(0)), values(int32(0)), _element)
            T.buffer_store(target, to_store(value, target.dtype, at), [at])
            return
        held_reads = self._neighbours(columns, values(int32(0)), count)
        results = device.registers("results", (count,), target.dtype)
        with T.unroll(int32(count)) as v:
            place = iter(held_reads)

            def read(tensor: Buffer, at: Expr) -> Expr:
                neighbours = next(place)
                return _element(tensor, at) if neighbours is None else neighbours[v]

            value = self._value(columns(tirx.Cast("int64", v)), values(v), read)
            T.buffer_store(results, to_store(value, target.dtype, v), [v])
        first = self._place(columns(int64(0)))
        device.copy(device.address(target, first), device.address(results, 0), count * SIZE[str(target.dtype)])

    def _place(self, index: Index) -> Expr:
        """Where an element of the anchor's result ends up in the output."""
        return self.builder.access.flat(forward(self.builder.access, self.anchor.result, index, self.output))

    def _value(self, index: Index, total: Expr, read: Reader) -> Expr:
        """The output's element, all tensors read by `read`, which is called in the same order each time."""
        access = self.builder.access
        with self._reading(read):
            result = hold(self.first(index, total), self.anchor.result.dtype.numpy_name)
            access.bind(self.anchor.result, lambda _: result)
            return access.load(self.output, forward(access, self.anchor.result, index, self.output))

    @contextmanager
    def _reading(self, read: Reader) -> Iterator[None]:
        """Every tensor of the function is read by `read` meanwhile."""
        access, before = self.builder.access, dict(self.builder.access.bound)

        def through(value: Value, tensor: Buffer) -> Callable[[Index], Expr]:
            return lambda index: cast(read(tensor, access.flat(index)), held(value.dtype.numpy_name))

        for value, tensor in access.buffers.items():
            access.bind(value, through(value, tensor))
        yield
        access.bound = before

    def _neighbours(self, columns: Columns, total: Expr, count: int) -> list[Buffer | None]:
        """For each read of an element, in order: registers that hold those of all columns, if they lie together."""
        lane, zero = tirx.Var("lane", "int64"), int64(0)
        seen: list[list[tuple[Buffer, Expr]]] = [[], []]
        for places, at in zip(seen, (zero, lane)):

            def read(tensor: Buffer, place: Expr, places: list[tuple[Buffer, Expr]] = places) -> Expr:
                places.append((tensor, place))
                return _element(tensor, place)

            with detached():
                self._value(columns(at), total, read)
        result: list[Buffer | None] = []
        for (tensor, first), (_, following) in zip(*seen):
            size = SIZE.get(str(tensor.dtype), PIECE) * count
            if size > PIECE or not self._together(first, following, lane):
                result.append(None)
                continue
            result.append(device.registers("neighbours", (count,), tensor.dtype))
            device.copy(device.address(result[-1], 0), device.address(tensor, first), size)
        return result

    @staticmethod
    def _together(first: Expr, following: Expr, lane: Expr) -> bool:
        """Whether LANES places follow each other from a multiple of LANES on."""
        return multiple(first, LANES) and steps(first, following, lane)


def _element(tensor: Buffer, at: Expr) -> Expr:
    return tirx.BufferLoad(tensor, [at])
