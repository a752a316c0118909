"""A product by NVIDIA's library where that is found at run time, else by our own kernel: both are in one function.

The host code asks the library, whose epilogue adds a bias and a residual. What else follows is done in place by a kernel of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.cuda_blas import LINEAR, TYPES
from targets.kernels.access import Index
from targets.kernels.anchor import SAME_DIGITS
from targets.kernels.cuda import device
from targets.kernels.cuda.adjacent import stored_element
from targets.kernels.cuda.epilogue import Epilogue
from targets.kernels.cuda.launch import static
from targets.kernels.cuda.operand import SIZE
from targets.kernels.cuda.product import LANES
from targets.kernels.frame import Frame
from targets.kernels.scalar import cast, held
from targets.tvm_api import Buffer, Expr, IRBuilder, T, int64, tirx, tvm
from tgraph.ir.values import Node, Result, Value
from tgraph.ops.shape import product

ROWS, DEPTH = 64, 256  # from which on the library is asked: below, reading W or starting kernels is what takes time
GROUP = 8  # n and k are multiples of it, for tensor cores
_ZERO, _NULL = tirx.const(0, "int32"), tirx.reinterpret("handle", tirx.const(0, "uint64"))


@dataclass(frozen=True)
class Matrix:
    """A matrix in a tensor: element (i, j) at `first + i * distance + j`."""

    tensor: Buffer
    first: Expr
    distance: Expr

    @classmethod
    def of(cls, load: Callable[[Expr, Expr], Expr], dtype: str) -> Matrix | None:
        """The matrix of `dtype` that `load` reads; None if it is none."""
        analyzer, zero, one = tvm.sym.Analyzer(), int64(0), int64(1)
        i, j = tirx.Var("i", "int64"), tirx.Var("j", "int64")
        element, first, second = (stored_element(load(*at)) for at in ((i, j), (zero, zero), (one, zero)))
        if element is None or first is None or second is None or str(element.ty.dtype) != dtype:
            return None
        start, distance = first.indices[0], analyzer.simplify(second.indices[0] - first.indices[0])
        rest = analyzer.simplify(element.indices[0] - (start + i * distance + j))
        return cls(element.source, start, distance) if static(rest) == 0 else None


class LibraryProduct:
    """A `linear` in the form that the library takes."""

    def __init__(self, frame: Frame, node: Node) -> None:
        self.frame, self.node, access = frame, node, frame.access
        x, weight, bias = node.operands
        assert x is not None and weight is not None
        self.rows, (self.columns, self.depth) = product(x.shape[:-1]), weight.shape
        self.name, self.output = frame.output
        self.dtype, self.result = x.dtype.numpy_name, self.output.dtype.numpy_name
        self.x = Matrix.of(lambda i, k: access.load(x, ((self.rows, i), (self.depth, k))), self.dtype)
        self.weight = Matrix.of(lambda j, k: access.load(weight, ((self.columns, j), (self.depth, k))), self.dtype)
        self.bias = None if bias is None else Matrix.of(lambda _, j: access.load(bias, ((self.columns, j),)), self.result)
        self.has_all = self.x is not None and self.weight is not None and (bias is None or self.bias is not None)
        self.done, self.residual = self._residual()

    @property
    def fits(self) -> bool:
        """Whether the library can be asked, as far as is known before the call."""
        n, k = self.columns, self.depth
        if not (isinstance(n, int) and isinstance(k, int) and n % GROUP == 0 and k % GROUP == 0 and k >= DEPTH):
            return False
        enough = not isinstance(self.rows, int) or self.rows >= ROWS
        types = self.dtype in TYPES and self.result in {self.dtype, "float32"}
        return enough and types and self.has_all and not self.frame.counts

    def emit(self, own: Callable[[], None]) -> None:
        """The question to the library, what follows if it did the product, and `own` if not."""
        followers = self._followers()
        rest = f", then {', '.join(followers)} in place by a kernel of ours" if followers else ""
        self.frame.notes.append(f"cuBLASLt at {ROWS} rows and more where it is found{rest}")
        done = T.alloc_buffer((1,), "int32", scope="global")
        IRBuilder.name("done", done)
        T.buffer_store(done, _ZERO, [0])
        with T.If(self.frame.size(self.rows) >= int64(ROWS)), T.Then():
            T.buffer_store(done, self._ask(), [0])
        with T.If(tirx.EQ(done[0], _ZERO)):
            with T.Then():
                own()
            with T.Else():
                self._finish() if followers else T.evaluate(_ZERO)

    def _ask(self) -> Expr:
        """The call, which gives whether the product was begun."""
        assert self.x is not None and self.weight is not None
        addresses = [_NULL if m is None else tirx.address_of(m.tensor[m.first])
                     for m in (self.x, self.weight, self.bias, self.residual)]
        out = tirx.address_of(self.frame.outputs[self.name][int64(0)])
        sizes = [self.frame.size(d) for d in (self.rows, self.columns, self.depth)]
        distances = [self.x.distance, self.weight.distance, int64(0) if self.residual is None else self.residual.distance]
        has_bias = int64(int(self.bias is not None))
        return tirx.call_packed(LINEAR, *addresses, out, *sizes, *distances, has_bias, self.dtype, self.result)

    def _residual(self) -> tuple[Value, Matrix | None]:
        """A tensor that is added to the sums, if one is, and the value that the library gives."""
        value: Value = self.node.result
        if value is not self.output and value.users[0].op.name == "cast" and value.users[0].result.dtype == self.output.dtype:
            value = value.users[0].result
        if value is self.output or value.users[0].op.name != "add" or value.dtype != self.output.dtype:
            return value, None
        total, others = value.users[0].result, [v for v in value.users[0].inputs if v is not value]
        if len(others) != 1 or total.shape != value.shape:
            return value, None
        matrix = Matrix.of(lambda i, j: self.frame.access.broadcast(others[0], self._index(i, j), total.shape), self.result)
        one_row = matrix is not None and static(matrix.distance) == 0
        return (value, None) if matrix is None or one_row else (total, matrix)

    def _followers(self) -> list[str]:
        """The ops that are left after what the library does."""
        names, value = [], self.done
        while value is not self.output:
            node = value.users[0]
            if node.op.name not in SAME_DIGITS:
                names.append(node.op.name)
            value = node.result
        return names

    def _finish(self) -> None:
        """What follows, in place."""
        assert isinstance(self.done, Result) and isinstance(self.columns, int)
        out = self.frame.outputs[self.name]
        epilogue = Epilogue(self.frame, self.done.node, lambda _, value: value)
        row, group = tirx.Var("i", "int64"), tirx.Var("group", "int64")
        count = LANES if epilogue.wide(lambda lane: self._index(row, group * int64(LANES) + lane)) else 1
        groups = int64(self.columns // count)
        with device.each(self.frame.size(self.rows) * groups) as number:
            i = T.bind(tirx.truncdiv(number, groups))
            j = T.bind((number - i * groups) * int64(count))
            values = device.registers("values", (count,), out.dtype)
            place = i * int64(self.columns) + j
            if count > 1:
                device.copy(device.address(values, 0), device.address(out, place), count * SIZE[self.result])
            else:
                T.buffer_store(values, out[place], [0])
            epilogue.store(lambda lane: self._index(i, j + lane), lambda v: cast(values[v], held(self.result)), count)

    def _index(self, i: Expr, j: Expr) -> Index:
        return ((self.rows, i), (self.columns, j))
