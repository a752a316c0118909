"""The kernel builder: a function graph's signature as a TIR function, and where its operands lie.

Parameters are, in order: inputs, outputs, `status` if the function looks something up by index, the counts i64[1] of sizes that
are known on the device only, and the symbolic sizes as int64 (of those, a bound). Every tensor is dense and may start at an
offset in a larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from targets.base.tvm_api import Buffer, Expr, IRBuilder, PrimFunc, T, int64, tirx
from targets.codegen import views  # noqa: F401  (fills the table of readers)
from targets.codegen.access import Access, Index, Sizes, as_index
from targets.codegen.device_extents import DeviceExtent, counted
from targets.codegen.scalar import to_store
from targets.codegen.signature import function_symbols, lookups, table_size
from tgraph.ir.dims import DimLike
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value

Each = Callable[[Expr], AbstractContextManager[Expr]]  # i in `with each(extent) as i`: 0 to extent - 1, in any order
NOTES, BINARIES = "tgraph.notes", "tgraph.binaries"  # attributes of a kernel
SMALL = 32 * 1024  # elements below which waking the other threads costs more than it saves


@dataclass
class KernelBuilder:
    """One kernel under construction."""

    function: Graph
    access: Access
    outputs: dict[str, Buffer]
    status: Buffer | None
    counts: Sequence[DeviceExtent] = ()
    notes: list[str] = field(default_factory=list)  # what was chosen, and why, for people
    binaries: list[str] = field(default_factory=list)  # names of machine code that was not made from TIR, and that it launches

    def size(self, value: DimLike) -> Expr:
        """A dim as an int64 expression."""
        return self.access.sizes(value)

    def write(self, name: str, index: Index, value: Expr) -> None:
        """Store one element of an output."""
        at = self.access.flat(index)
        T.buffer_store(self.outputs[name], to_store(value, self.outputs[name].dtype, at), [at])

    @property
    def output(self) -> tuple[str, Value]:
        """The only output. Raises CompileError if there are several."""
        if len(self.function.outputs) != 1:
            raise CompileError(f"kernel {self.function.name} has {len(self.function.outputs)} outputs where one is expected")
        return self.function.outputs[0]


def build(function: Graph, name: str, body: Callable[[KernelBuilder], None], each: Each, unknown: Collection[str] = (),
          cells: str = "global") -> PrimFunc:
    """A TIR function of the given name whose statements `body` emits; `each` loops over what is to be checked.

    unknown: the symbolic sizes that are known on the device only. cells: the scope of memory for single numbers.
    """
    with IRBuilder() as ir, T.prim_func():
        T.func_name(name)
        symbols = function_symbols(function)
        variables = {symbol: tirx.Var(f"{symbol}_bound" if symbol in unknown else symbol, "int64") for symbol in symbols}
        sizes = Sizes(variables)
        tensors = [_declare(value.name, value, sizes) for value in function.inputs]
        results = [_declare(output, value, sizes) for output, value in function.outputs]
        status = T.arg("status", T.buffer((1,), "int32")) if lookups(function) else None
        counts = [DeviceExtent(tirx.Var(s, "int64"), variables[s], T.arg(f"count_{s}", T.buffer((1,), "int64")))
                  for s in symbols if s in unknown]
        for variable in variables.values():
            T.arg(variable.name, variable)
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": name})
        flat: dict[Value, Buffer] = {v: _flat(buffer, v, sizes) for v, buffer in zip(function.inputs, tensors)}
        outputs = {output: _flat(buffer, value, sizes) for (output, value), buffer in zip(function.outputs, results)}
        inside = Sizes({**variables, **dict(zip((s for s in symbols if s in unknown), (c.variable for c in counts)))})
        builder = KernelBuilder(function, Access(flat, inside, cells), outputs, status, counts)
        with counted(counts):
            for node in lookups(function):
                (_check_offsets if node.op.traits.segments else _check_lookup)(builder, node, each)
            if any(0 not in value.shape for _, value in function.outputs):  # else nothing is written
                body(builder)
    made = ir.get().with_attr(NOTES, "; ".join(builder.notes))
    return made.with_attr(BINARIES, builder.binaries) if builder.binaries else made


def _declare(name: str, value: Value, sizes: Sizes) -> Buffer:
    """A tensor parameter."""
    safe = "".join(c if c.isalnum() else "_" for c in name)
    offset = tirx.Var(f"{safe}_offset", "int64")
    shape = [sizes(d) for d in value.shape]
    return T.arg(safe, T.buffer(shape, value.dtype.numpy_name, elem_offset=offset, offset_factor=1,
                                align=value.dtype.numpy.itemsize))


def _flat(buffer: Buffer, value: Value, sizes: Sizes) -> Buffer:
    """A tensor parameter seen as the row of its elements."""
    flat = T.decl_buffer((sizes(value.type.size),), value.dtype.numpy_name, data=buffer.data, elem_offset=buffer.elem_offset)
    IRBuilder.name(f"{buffer.name}_flat", flat)
    return flat


def _check_lookup(builder: KernelBuilder, node: Node, each: Each) -> None:
    """Set `status` if an index is outside of the table; the caller then asks the interpreter for the exact error."""
    lookup = node.op.traits.lookup
    assert builder.status is not None and lookup is not None
    indices, rows = node.inputs[lookup.indices], builder.size(table_size(node, lookup))
    lowest = int64(0) - rows if lookup.from_end else int64(0)
    with each(builder.size(indices.type.size)) as i:
        at = as_index(builder.access.load(indices, ((indices.type.size, i),)))
        with T.If(tirx.any(at < lowest, at >= rows)), T.Then():
            T.buffer_store(builder.status, tirx.const(1, "int32"), [int64(0)])


def _check_offsets(builder: KernelBuilder, node: Node, each: Each) -> None:
    """Set `status` if offsets do not go from 0 to the number of rows, or if they fall."""
    segments = node.op.traits.segments
    assert builder.status is not None and segments is not None
    offsets, rows = node.inputs[segments.offsets], node.inputs[segments.rows]
    count, zero = builder.size(offsets.shape[0]), int64(0)

    def offset(i: Expr) -> Expr:
        return as_index(builder.access.load(offsets, ((offsets.shape[0], i),)))

    def require(holds: Expr) -> None:
        with T.If(tirx.Not(holds)), T.Then():
            T.buffer_store(builder.status, tirx.const(1, "int32"), [zero])

    with each(tirx.Max(count, int64(1))) as i:  # no offsets at all are wrong too
        with T.If(count > zero):
            with T.Then():
                require(tirx.if_then_else(i > zero, offset(i) >= offset(i - int64(1)), offset(i) == zero))
                require(tirx.any(i < count - int64(1), offset(i) == builder.size(rows.shape[0])))
            with T.Else():
                require(tirx.const(False, "bool"))
