"""The frame of every kernel: a function graph's signature as a TIR function, and where its operands lie.

Parameters are, in order: inputs, outputs, `status` if the function looks something up by index, and the symbolic sizes
as int64. Every tensor is dense and may start at an offset in a larger one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.kernels import views  # noqa: F401  (fills the table of readers)
from targets.kernels.access import Access, Index, Sizes, as_index
from targets.tvm_api import Buffer, Expr, IRBuilder, PrimFunc, T, int64, tirx
from tgraph.ir.dims import DimLike, symbols
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value

SMALL = 32 * 1024  # elements below which waking the other threads costs more than it saves
LOOKUPS = {"embedding": 0, "gather": 1}  # op -> position of the operand that holds indices


@dataclass
class Frame:
    """One kernel under construction."""

    function: Graph
    access: Access
    outputs: dict[str, Buffer]
    status: Buffer | None

    def size(self, value: DimLike) -> Expr:
        """A dim as an int64 expression."""
        return self.access.sizes(value)

    def write(self, name: str, index: Index, value: Expr) -> None:
        """Store one element of an output."""
        T.buffer_store(self.outputs[name], value, [self.access.flat(index)])

    @property
    def output(self) -> tuple[str, Value]:
        """The only output. Raises CompileError if there are several."""
        if len(self.function.outputs) != 1:
            raise CompileError(f"kernel {self.function.name} has {len(self.function.outputs)} outputs where one is expected")
        return self.function.outputs[0]


def function_symbols(function: Graph) -> list[str]:
    """The names of the dims that a function depends on, sorted: its last parameters."""
    types = [i.type for i in function.inputs] + [r.type for n in function.nodes for r in n.results]
    names = {s.name for t in types for d in t.shape for s in symbols(d)}
    for node in function.nodes:
        for value in node.attrs.values():
            for item in value if isinstance(value, tuple) else (value,):
                if hasattr(item, "terms"):
                    names.update(s.name for s in symbols(item))
    return sorted(names)


def lookups(function: Graph) -> list[Node]:
    """The nodes that read by an index which may be out of range."""
    return [n for n in function.nodes if n.op.name in LOOKUPS and not _surely_inside(n)]


def _surely_inside(node: Node) -> bool:
    """Whether the indices are a range that provably ends within the table."""
    indices, table = node.inputs if LOOKUPS[node.op.name] == 0 else reversed(node.inputs)
    if not isinstance(indices, Result) or indices.node.op.name != "range":
        return False
    from tgraph.ir.dims import bounds

    axis = node.attrs.get("axis", 0)
    low, _ = bounds(table.shape[axis] - indices.node.attrs["stop"])
    return low is not None and low >= 0 and indices.node.attrs["start"] == 0


def build(function: Graph, name: str, body: Callable[[Frame], None]) -> PrimFunc:
    """A TIR function of the given name whose statements `body` emits."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name(name)
        variables = {symbol: tirx.Var(symbol, "int64") for symbol in function_symbols(function)}
        sizes = Sizes(variables)
        flat: dict[Value, Buffer] = {}
        for value in function.inputs:
            flat[value] = _tensor(value.name, value, sizes)
        outputs = {output: _tensor(output, value, sizes) for output, value in function.outputs}
        status = T.arg("status", T.buffer((1,), "int32")) if lookups(function) else None
        for symbol, variable in variables.items():
            T.arg(symbol, variable)
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": name})
        frame = Frame(function, Access(flat, sizes), outputs, status)
        for node in lookups(function):
            _check_lookup(frame, node)
        body(frame)
    return builder.get()


def _tensor(name: str, value: Value, sizes: Sizes) -> Buffer:
    """A parameter, seen as the flat row of its elements."""
    safe = "".join(c if c.isalnum() else "_" for c in name)
    offset = tirx.Var(f"{safe}_offset", "int64")
    shape = [sizes(d) for d in value.shape]
    buffer = T.arg(safe, T.buffer(shape, value.dtype.numpy_name, elem_offset=offset, offset_factor=1))
    return T.decl_buffer((sizes(value.type.size),), value.dtype.numpy_name, data=buffer.data, elem_offset=offset)


def _check_lookup(frame: Frame, node: Node) -> None:
    """Set `status` if an index is outside of the table; the caller then asks the interpreter for the exact error."""
    assert frame.status is not None
    operands = node.inputs
    indices, table = operands if LOOKUPS[node.op.name] == 0 else (operands[1], operands[0])
    rows = frame.size(table.shape[node.attrs.get("axis", 0)])
    lowest = int64(0) if node.op.name == "embedding" else int64(0) - rows
    with T.serial(int64(0), frame.size(indices.type.size)) as i:
        at = as_index(frame.access.load(indices, ((indices.type.size, i),)))
        with T.If(tirx.any(at < lowest, at >= rows)), T.Then():
            T.buffer_store(frame.status, tirx.const(1, "int32"), [int64(0)])
