"""The kernel builder: a function graph's signature as a TIR function, and where its operands lie.

Parameters are, in order: inputs, outputs, `status` if the function looks something up by index, a tensor i64[1] for each size
that only the device knows, and the symbolic sizes as int64 (of those, upper bounds). Every tensor is dense and may start at an
offset in a larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from targets.base.tvm_api import Buffer, Expr, IRBuilder, PrimFunc, T, int64, tirx
from targets.codegen import views  # noqa: F401  (fills the table of readers)
from targets.codegen.access import Access, DimExpressions, Index, as_index
from targets.codegen.device_extents import DeviceExtent, use_extents
from targets.codegen.scalar import hold, to_store
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
    """One kernel under construction: how its statements read operands and write outputs."""

    function: Graph
    access: Access
    outputs: dict[str, Buffer]
    status: Buffer | None
    device_extents: Sequence[DeviceExtent] = ()
    notes: list[str] = field(default_factory=list)  # what was chosen, and why, for people
    binaries: list[str] = field(default_factory=list)  # names of machine code that was not made from TIR, and that it launches

    def size(self, value: DimLike) -> Expr:
        """A dim as an int64 expression."""
        return self.access.sizes(value)

    def write(self, name: str, index: Index, value: Expr) -> None:
        """Store one element of an output."""
        at = self.access.flat(index)
        T.buffer_store(self.outputs[name], to_store(value, self.outputs[name].dtype, at), [at])

    def narrow(self, value: Expr, name: str) -> Expr:
        """A value as kernels hold one of an output's element type."""
        return hold(value, str(self.outputs[name].dtype))

    @property
    def output(self) -> tuple[str, Value]:
        """The only output. Raises CompileError if there are several."""
        if len(self.function.outputs) != 1:
            raise CompileError(f"kernel {self.function.name} has {len(self.function.outputs)} outputs where one is expected")
        return self.function.outputs[0]


def build(function: Graph, name: str, body: Callable[[KernelBuilder], None], each: Each, on_device: Collection[str] = (),
          scalar_scope: str = "global") -> PrimFunc:
    """A TIR function of the given name whose statements `body` emits; `each` loops over the indices that are checked.

    on_device: the symbolic sizes that only the device knows. scalar_scope: TVM's scope of memory for single numbers.
    """
    with IRBuilder() as ir, T.prim_func():
        T.func_name(name)
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": name})
        builder = _declare_parameters(function, on_device, scalar_scope)
        with use_extents(builder.device_extents):
            for node in lookups(function):
                traits = node.op.traits
                (_check_offsets if traits.segments else _check_update if traits.update else _check_lookup)(builder, node, each)
            if any(0 not in value.shape for _, value in function.outputs):  # else nothing is written
                body(builder)
    made = ir.get().with_attr(NOTES, "; ".join(builder.notes))
    return made.with_attr(BINARIES, builder.binaries) if builder.binaries else made


def _declare_parameters(function: Graph, on_device: Collection[str], scalar_scope: str) -> KernelBuilder:
    """Declare the parameters of the TIR function that is open, and make the builder that knows them."""
    symbols = function_symbols(function)
    sizes = {s: tirx.Var(f"{s}_bound" if s in on_device else s, "int64") for s in symbols}
    on_host = DimExpressions(sizes)
    inputs = [(value, _declare(value.name, value, on_host)) for value in function.inputs]
    outputs = [(name, value, _declare(name, value, on_host)) for name, value in function.outputs]
    status = T.arg("status", T.buffer((1,), "int32")) if lookups(function) else None
    extents = {s: DeviceExtent(tirx.Var(s, "int64"), sizes[s], T.arg(f"count_{s}", T.buffer((1,), "int64")))
               for s in symbols if s in on_device}
    for size in sizes.values():
        T.arg(size.name, size)
    read: dict[Value, Buffer] = {value: _flat(buffer, value, on_host) for value, buffer in inputs}
    written = {name: _flat(buffer, value, on_host) for name, value, buffer in outputs}
    access = Access(read, DimExpressions({**sizes, **{s: extent.variable for s, extent in extents.items()}}), scalar_scope)
    return KernelBuilder(function, access, written, status, list(extents.values()))


def _declare(name: str, value: Value, sizes: DimExpressions) -> Buffer:
    """Declare a tensor parameter."""
    safe = "".join(c if c.isalnum() else "_" for c in name)
    offset = tirx.Var(f"{safe}_offset", "int64")
    shape = [sizes(d) for d in value.shape]
    return T.arg(safe, T.buffer(shape, value.dtype.numpy_name, elem_offset=offset, offset_factor=1,
                                align=value.dtype.numpy.itemsize))


def _flat(buffer: Buffer, value: Value, sizes: DimExpressions) -> Buffer:
    """A tensor parameter as a buffer of one axis."""
    flat = T.decl_buffer((sizes(value.type.size),), value.dtype.numpy_name, data=buffer.data, elem_offset=buffer.elem_offset)
    IRBuilder.name(f"{buffer.name}_flat", flat)
    return flat


def _check_lookup(builder: KernelBuilder, node: Node, each: Each) -> None:
    """Emit the check that sets `status` if an index is outside of the table; the interpreter then gives the exact error."""
    lookup = node.op.traits.lookup
    assert builder.status is not None and lookup is not None
    indices, rows = node.inputs[lookup.indices], builder.size(table_size(node, lookup))
    lowest = int64(0) - rows if lookup.from_end else int64(0)
    with each(builder.size(indices.type.size)) as i:
        at = as_index(builder.access.load(indices, ((indices.type.size, i),)))
        with T.If(tirx.any(at < lowest, at >= rows)), T.Then():
            T.buffer_store(builder.status, tirx.const(1, "int32"), [int64(0)])


def _check_update(builder: KernelBuilder, node: Node, each: Each) -> None:
    """Emit the check that sets `status` if the part that a node replaces is not within the tensor."""
    update = node.op.traits.update
    assert builder.status is not None and update is not None
    axis = node.attrs[update.axis]
    room = builder.size(node.inputs[update.x].shape[axis]) - builder.size(node.inputs[update.value].shape[axis])
    with each(int64(1)):  # once, where the device reads memory
        at = as_index(builder.access.load(node.inputs[update.start], ()))
        with T.If(tirx.any(at < int64(0), at > room)), T.Then():
            T.buffer_store(builder.status, tirx.const(1, "int32"), [int64(0)])


def _check_offsets(builder: KernelBuilder, node: Node, each: Each) -> None:
    """Emit the check that sets `status` if offsets do not go from 0 to the number of rows, or if they fall."""
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
                require(builder.access.choose(i > zero, lambda: offset(i) >= offset(i - int64(1)), lambda: offset(i) == zero))
                require(tirx.any(i < count - int64(1), offset(i) == builder.size(rows.shape[0])))
            with T.Else():
                require(tirx.const(False, "bool"))
