"""Lowering of kernel graphs to a TVM module: each function is a TIR kernel, each stage a Relax function that calls them.

The Relax functions are in the low form that TVM's memory planning would end in: kernels write into given tensors. Their
parameters are the stage's inputs, its weights, the values between kernels, the outputs that it writes, the status word, and the
symbolic sizes. So the module allocates nothing, and an engine keeps what is the same in every call of the same sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from targets.base.backend import emitters_of
from targets.base.interrupts import hold_interrupts
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.base.tvm_api import IRModule, PrimFunc, prim_value, relax
from targets.codegen.kernel_builder import build
from targets.codegen.signature import function_symbols, lookups
from targets.lowering.stages import MemoryPlan, Plan, Stage, call_sizes, device_bounds
from tgraph.ir.cached import cached_property
from tgraph.ir.dims import Dim, DimLike, as_symbol, symbols
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.ir.values import Node, Value

Progress = Callable[[str], None]
OnDevice = tuple[str, ...]  # names of symbolic sizes that only the device knows


@dataclass(frozen=True)
class Lowered:
    """A module for a target, and its kernels by the name of their functions.

    failed: the content of kernels that could not be built, and why; others took their place.
    """

    module: IRModule
    kernels: dict[str, PrimFunc]
    target: Target
    failed: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def executable(self) -> relax.VMExecutable:
        """The machine code, in memory."""
        with hold_interrupts():
            return backend_of(self.target).build(self.module, self.target)


def lower(program: Program, plans: Mapping[str, Plan], target: Target, progress: Progress = lambda _: None) -> Lowered:
    """Emit every kernel, one for each choice of sizes that only the device knows, and a function for each stage."""
    with hold_interrupts() as let_in:
        def step(name: str) -> None:
            let_in()
            progress(name)

        return _lower(program, plans, target, step)


def _lower(program: Program, plans: Mapping[str, Plan], target: Target, progress: Progress) -> Lowered:
    by_call = on_device_by_call(program, plans)
    variants = variants_of(program, by_call)
    builder = relax.BlockBuilder()
    kernels: dict[str, PrimFunc] = {}
    for name, function in program.functions.items():
        progress(f"kernel {name}")
        for on_device in variants[name]:
            symbol = kernel_symbol(name, on_device)
            kernels[symbol] = emit_kernel(function, target, on_device)
            builder.add_func(kernels[symbol], symbol)
    module = builder.get()
    for name, plan in plans.items():
        for stage in plan.stages:
            module[stage.name] = _StageLowering(program[name], stage, plan.memory, by_call).build()
    return Lowered(module, kernels, target)


def on_device_by_call(program: Program, plans: Mapping[str, Plan]) -> dict[Node, OnDevice]:
    """Which sizes of its function only the device knows, for each call."""
    found: dict[Node, OnDevice] = {}
    for name, plan in plans.items():
        sizes = device_bounds(program[name])
        found.update({call: on_device_in(program[name], call, sizes) for stage in plan.stages for call in stage.calls})
    return found


def variants_of(program: Program, by_call: Mapping[Node, OnDevice]) -> dict[str, list[OnDevice]]:
    """The kernels that each function needs, by the sizes that only the device knows."""
    variants: dict[str, dict[OnDevice, None]] = {name: {} for name in program.functions}
    for call, on_device in by_call.items():
        variants[call.attrs["function"].name][on_device] = None
    return {name: list(choices) for name, choices in variants.items()}


def kernel_symbol(name: str, on_device: OnDevice = ()) -> str:
    """A function's name as a symbol of the library."""
    return "_".join(["kernel", "".join(c if c.isalnum() else "_" for c in name), *on_device])


def on_device_in(graph: Graph, call: Node, dims: Collection[str]) -> OnDevice:
    """Which symbolic sizes of a function are, in this call, made of dims that only the device knows."""
    found = []
    for formal, actual in zip(function_symbols(call.attrs["function"]), call_sizes(graph, call)):
        names = {s.name for s in symbols(actual)} if isinstance(actual, Dim) else set()
        if names.isdisjoint(dims):
            continue
        if as_symbol(actual) is None:
            raise CompileError(f"kernel {call.attrs['function'].name}: only the device knows all of {formal} = {actual}")
        found.append(formal)
    return tuple(found)


def emit_kernel(function: Graph, target: Target, on_device: OnDevice = ()) -> PrimFunc:
    """The TIR of one function graph. Raises CompileError that names it if its family cannot."""
    emitters = emitters_of(target)
    emit = emitters.family_of(function)
    with emitters.functions():
        return build(function, kernel_symbol(function.name, on_device), lambda b: emit(b, target), emitters.each, on_device,
                     emitters.scalar_scope)


class _StageLowering:
    """Builds the Relax function of one stage.

    Its parameters have no types, and kernels are called by the names of their symbols: TVM would check each tensor in every call,
    and what the engine gives is right.
    """

    def __init__(self, graph: Graph, stage: Stage, memory: MemoryPlan, on_device: Mapping[Node, OnDevice]):
        self.graph, self.stage, self.memory, self.on_device = graph, stage, memory, on_device
        self.bindings: list[relax.VarBinding] = []

    def build(self) -> relax.Function:
        stage, outputs = self.stage, dict(self.graph.outputs)
        inputs: dict[Value, relax.Expr] = {v: _parameter(getattr(v, "name", f"host{i}")) for i, v in enumerate(stage.inputs)}
        weights: dict[Value, relax.Expr] = {v: _parameter(f"w{i}") for i, v in enumerate(stage.weights)}
        places = {self.memory.values[number]: _parameter(f"v{number}") for number in stage.places}
        written = {outputs[name]: _parameter(f"out_{name}") for name in stage.outputs}
        status = [_parameter("status")] if stage.has_status else []
        device_extents = {name: _parameter(f"count_{name}") for name in stage.device_extents}
        sizes: dict[DimLike, relax.Expr] = {size: _parameter(f"size{i}") for i, size in enumerate(stage.sizes)}
        tensors: dict[Value, relax.Expr] = {**inputs, **weights, **places, **written}
        tensors.update({old: written[outputs[name]] for old, name in self.memory.written_over.items()
                        if name in stage.outputs})
        for node in stage.calls:
            self._call(node, tensors, status, device_extents, sizes)
        parameters = [*inputs.values(), *weights.values(), *places.values(), *written.values(), *status, *device_extents.values(),
                      *sizes.values()]
        body = relax.SeqExpr([relax.BindingBlock(self.bindings)], relax.Tuple([]))
        function = relax.Function(parameters, body, relax.TupleType([]), is_pure=False)
        return function.with_attr("global_symbol", stage.name)

    def _call(self, node: Node, tensors: Mapping[Value, relax.Expr], status: list[relax.Expr],
              device_extents: Mapping[str, relax.Expr], known: Mapping[DimLike, relax.Expr]) -> None:
        function = node.attrs["function"]
        arguments = [tensors[v] for v in (*node.inputs, *node.results)]
        arguments += status if lookups(function) else []
        sizes, on_device = dict(zip(function_symbols(function), call_sizes(self.graph, node))), self.on_device[node]
        arguments += [device_extents[str(sizes[formal])] for formal in on_device]
        arguments += [prim_value(d) if isinstance(d, int) else known[d] for d in sizes.values()]
        call = relax.Call(relax.ExternFunc(kernel_symbol(function.name, on_device)), arguments, ty_args=[relax.TupleType([])])
        self.bindings.append(relax.VarBinding(relax.Var(f"_{len(self.bindings)}", relax.TupleType([])), call))


def _parameter(name: str) -> relax.Var:
    return relax.Var(name, relax.AnyType())
