"""A kernel's anchor, the node that its family is for, and the epilogue: what follows the anchor up to the function's output."""

from __future__ import annotations

from collections.abc import Callable

from targets.base.tvm_api import Expr, tirx
from targets.codegen.access import Access, Index
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import hold
from tgraph.ir.axis_maps import permutation
from tgraph.ir.errors import CompileError
from tgraph.ir.registry import Op
from tgraph.ir.values import Node, Result, Value


def find_anchor(builder: KernelBuilder, *names: str) -> Node:
    """The only node of a function whose op has one of these names. Raises CompileError."""
    return only_node(builder, ", ".join(names), lambda op: op.name in names)


def only_node(builder: KernelBuilder, what: str, wanted: Callable[[Op], bool]) -> Node:
    """The only node of a function whose op is wanted; `what` names such ops in the CompileError."""
    found = [n for n in builder.function.nodes if wanted(n.op)]
    if len(found) != 1:
        raise CompileError(f"kernel {builder.function.name} needs one node of {what}, has {len(found)}")
    return found[0]


def accumulator_dtype(value: Value) -> str:
    """The element type in which elements of a value are summed: f32 at least, integers in their own."""
    return "float32" if value.dtype.is_float and value.dtype.bits < 32 else value.dtype.numpy_name


def epilogue(builder: KernelBuilder, anchor: Node) -> Callable[[Index, Expr], None]:
    """A function `store(index, value)`: takes an element of the anchor's result, applies what follows, writes the output."""
    name, output = builder.output

    def store(index: Index, value: Expr) -> None:
        builder.access.bind(anchor.result, lambda _: hold(value, anchor.result.dtype.numpy_name))
        at = forward(builder.access, anchor.result, index, output)
        builder.write(name, at, builder.access.load(output, at))

    return store


def plain_place(builder: KernelBuilder, anchor: Node) -> Callable[[Index], Expr] | None:
    """A function `place(index)`: the output's element that the anchor's result is; None if anything is computed between."""
    name, output = builder.output
    value: Value = anchor.result
    while value is not output:
        value = value.users[0].results[0]
        if value.node.op.elementwise:  # type: ignore[attr-defined]
            return None
    buffer, access = builder.outputs[name], builder.access
    return lambda index: tirx.BufferLoad(buffer, [access.flat(forward(access, anchor.result, index, output))])


def forward(access: Access, value: Value, index: Index, output: Value) -> Index:
    """The index in `output` of an element of `value`, after the ops between them."""
    while value is not output:
        assert len(value.users) == 1
        node = value.users[0]
        if (perm := permutation(node)) is not None:
            positions = access.axes(index, value.shape)
            index = access.index([positions[a] for a in perm], node.result.shape)
        elif not node.op.elementwise and node.op.traits.view != "regroup":
            raise CompileError(f"op {node.op.name} cannot follow the anchor of a kernel")
        value = node.results[0]
    assert isinstance(value, Result) or value is output
    return index
