"""A `linear` and what follows it, as libraries take that: matrices by address and distance of rows."""

from __future__ import annotations

from collections.abc import Callable

from targets.base.tvm_api import Expr
from targets.codegen.access import Index
from targets.codegen.kernel_builder import KernelBuilder
from targets.cuda.kernels.launch import static
from targets.cuda.kernels.strided import Strided
from tgraph.ir.values import Node, Value
from tgraph.ops.shape import product


class LinearForm:
    """x [rows, depth], weight [columns, depth] and bias of a `linear`; None for one that is no such matrix.

    dtype: of x and weight; result: of the function's output, in which a bias has to be.
    """

    def __init__(self, builder: KernelBuilder, node: Node) -> None:
        self.builder, self.node, access = builder, node, builder.access
        x, weight, bias = node.operands
        assert x is not None and weight is not None
        self.rows, (self.columns, self.depth) = product(x.shape[:-1]), weight.shape
        self.name, self.output = builder.output
        self.dtype, self.result = x.dtype.numpy_name, self.output.dtype.numpy_name
        self.x = _by_rows(lambda i, k: access.load(x, ((self.rows, i), (self.depth, k))), self.dtype)
        self.weight = _by_rows(lambda j, k: access.load(weight, ((self.columns, j), (self.depth, k))), self.dtype)
        self.bias = None if bias is None else _by_rows(lambda _, j: access.load(bias, ((self.columns, j),)), self.result)
        self.has_all = self.x is not None and self.weight is not None and (bias is None or self.bias is not None)
        self.out = Strided.of(lambda i, j: builder.outputs[self.name][access.flat(self.index(i, j))], 2, self.result)

    def index(self, i: Expr, j: Expr) -> Index:
        return ((self.rows, i), (self.columns, j))

    def follower(self, value: Value) -> Node | None:
        """What is computed from a value next, past changes of the shape; None from the output."""
        while value is not self.output:
            node = value.users[0]
            if node.op.traits.view != "regroup":
                return node
            value = node.result
        return None

    def followers(self, value: Value) -> list[Node]:
        """All that is computed from a value on."""
        found = []
        while (node := self.follower(value)) is not None:
            found.append(node)
            value = node.result
        return found

    def added(self, value: Value) -> tuple[Value, Strided | None]:
        """The sum of a value, of the output's type, and of a matrix, if that comes next; else the value itself."""
        node = self.follower(value)
        if node is None or node.op.name != "add" or value.dtype != self.output.dtype:
            return value, None
        others = [v for v in node.inputs if v is not value]
        if len(others) != 1 or node.result.shape != value.shape:
            return value, None
        access, shape = self.builder.access, value.shape
        matrix = _by_rows(lambda i, j: access.broadcast(others[0], self.index(i, j), shape), self.result)
        one_row = matrix is not None and static(matrix.distances[0]) == 0
        return (value, None) if matrix is None or one_row else (node.result, matrix)


def _by_rows(load: Callable[[Expr, Expr], Expr], dtype: str) -> Strided | None:
    """The matrix that `load` reads, if elements of a row lie beside each other."""
    found = Strided.of(load, 2, dtype)
    return found if found is not None and found.adjacent else None
