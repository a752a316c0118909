"""What an executable is made of before TVM sees it: the prepare part apart, the rest in stages with a plan of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from targets.base.target import ALIGNMENT
from targets.codegen.signature import function_symbols, lookups
from tgraph.ir.analysis import is_prepared, liveness, prepared
from tgraph.ir.dims import Dim, DimLike, as_symbol, evaluate, symbols
from tgraph.ir.graph import Graph
from tgraph.ir.unification import unify_shapes
from tgraph.ir.values import Constant, Input, Node, Parameter, Result, Value


def decides(node: Node) -> bool:
    """Whether a node's results decide a size: the interpreter runs it between stages, or a kernel with bounds for it."""
    return node.op.traits.decides is not None


def decided_dim(node: Node) -> str:
    """The name of the dim that a node decides."""
    assert node.op.traits.decides is not None
    return str(node.attrs[node.op.traits.decides])


def split_prepare(graph: Graph) -> tuple[Graph, Graph]:
    """A graph as two: one without inputs that makes every tensor known beforehand, and the rest, which has them as parameters.

    A prepared tensor is named after the first parameter that it is made of.
    """
    parameter_only = prepared(graph, ("call",))  # calls are kernels: what belongs to the prepare part was not made one
    needed: dict[Value, None] = {}
    for node in graph.nodes:
        if node not in parameter_only:
            needed.update(dict.fromkeys(v for v in node.inputs if is_prepared(v, parameter_only)))
    needed.update(dict.fromkeys(v for _, v in graph.outputs if is_prepared(v, parameter_only)))
    prepare = Graph("prepare", graph.weights)
    rest = Graph(graph.name)
    rest.symbols, rest.constraints, rest.inequalities = dict(graph.symbols), list(graph.constraints), list(graph.inequalities)
    first: dict[Value, Value] = {}
    for value in needed:
        _bring(graph, prepare, value, first)
    names = _names(needed)
    prepare.set_outputs((names[v], first[v]) for v in needed)
    second: dict[Value, Value] = {i: rest.input(i.name, i.type) for i in graph.inputs}
    second.update({v: rest.parameter(names[v], v.type) for v in needed})
    for node in graph.nodes:
        if node not in parameter_only:
            second.update(zip(node.results, rest.clone(node, second).results))
    rest.set_outputs((name, second[v]) for name, v in graph.outputs)
    return prepare, rest


def _bring(graph: Graph, prepare: Graph, value: Value, done: dict[Value, Value]) -> None:
    """Copy what makes a value into the prepare graph."""
    if value in done:
        return
    if isinstance(value, Parameter):
        done[value] = prepare.parameter(value.name, value.type)
    elif isinstance(value, Constant):
        done[value] = (prepare.opaque_constant(value.type, value.digest) if value.data is None
                       else prepare.constant(value.data, value.dtype))
    elif isinstance(value, Result):
        for operand in value.node.inputs:
            _bring(graph, prepare, operand, done)
        done.update(zip(value.node.results, prepare.clone(value.node, done).results))


def _names(values: Mapping[Value, None]) -> dict[Value, str]:
    names: dict[Value, str] = {}
    taken: set[str] = set()
    for value in values:
        base = value.name if isinstance(value, Parameter) else f"{_first_parameter(value)}.{_kind(value)}".lstrip(".")
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}.{number}"
        taken.add(name)
        names[value] = name
    return names


def _kind(value: Value) -> str:
    return value.node.op.name if isinstance(value, Result) else "constant"


def _first_parameter(value: Value) -> str:
    stack = [value]
    while stack:
        current = stack.pop(0)
        if isinstance(current, Parameter):
            return current.name
        if isinstance(current, Result):
            stack = [*current.node.inputs, *stack]
    return ""


@dataclass
class Stage:
    """Calls that one function of the library makes, and what that function takes, in this order.

    `counts` are the sizes that are known on the device only, which a tensor i64[1] holds each. `plan` is the shape [symbols...,
    extents..., offsets of `places` (numbers of values in the memory plan)...]. `host` is a node that the interpreter runs after
    the stage, because its result decides sizes.
    """

    name: str
    calls: list[Node] = field(default_factory=list)
    host: Node | None = None
    inputs: list[Value] = field(default_factory=list)
    weights: list[Parameter] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    has_status: bool = False
    symbols: list[str] = field(default_factory=list)
    extents: list[DimLike] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)


def plan_stages(graph: Graph) -> tuple[list[Stage], MemoryPlan]:
    """The stages of a kernel graph, and where its values lie. The same graph gives the same answer, in any process."""
    stages = [Stage("main")]
    for node in graph.nodes:
        if decides(node):
            stages[-1].host = node
            stages.append(Stage(f"main_{len(stages)}"))
        else:
            stages[-1].calls.append(node)
    plan = MemoryPlan(graph)
    for stage in stages:
        _describe(graph, stage, plan)
    return stages, plan


def _describe(graph: Graph, stage: Stage, plan: MemoryPlan) -> None:
    output_names = {v: name for name, v in graph.outputs}
    numbers = {v: i for i, v in enumerate(plan.values)}
    tensors: dict[Any, None] = {}
    dims: dict[DimLike, None] = {}
    unknown = unknown_sizes(graph)
    for node in stage.calls:
        function = node.attrs["function"]
        stage.has_status |= bool(lookups(function))
        tensors.update(dict.fromkeys((*node.inputs, *node.results)))
        dims.update(dict.fromkeys(call_sizes(graph, node)))
    for value in tensors:
        dims.update(dict.fromkeys(d for d in value.shape if isinstance(d, Dim)))
        if isinstance(value, Parameter):
            stage.weights.append(value)
        elif isinstance(value, Input) or decides(value.node):
            stage.inputs.append(value)
        elif value in output_names:
            stage.outputs.append(output_names[value])
        else:
            stage.places.append(numbers[value])
    for size in dims:
        symbol = as_symbol(size)
        if symbol is not None:
            stage.symbols.append(symbol.name)
            if symbol.name in unknown:
                stage.counts.append(symbol.name)
        elif isinstance(size, Dim):
            stage.extents.append(size)


def call_sizes(graph: Graph, node: Node) -> list[DimLike]:
    """What the symbolic sizes of the function that a node calls are, in the order of the kernel's parameters."""
    function = node.attrs["function"]
    sizes: dict[str, DimLike] = {}
    for formal, actual in zip(function.inputs, node.inputs):
        unify_shapes(formal.type, actual.type, sizes)
    return [sizes[s] if s in sizes else Dim({((graph.symbols[s], 1),): 1}) for s in function_symbols(function)]


class MemoryPlan:
    """Where the values between kernels lie in one arena, for any sizes: those alive at the same time apart.

    Greedy by size (arXiv:2001.03288, section 4): large ones first, each at the lowest place that is free while it is alive.
    """

    def __init__(self, graph: Graph):
        outputs = {v for _, v in graph.outputs}
        intervals = liveness(graph)
        self.values: list[Value] = [r for n in graph.nodes if not decides(n) for r in n.results if r not in outputs]
        self.intervals = [intervals[v] for v in self.values]
        self.bytes: list[DimLike] = [v.type.nbytes for v in self.values]

    def place(self, sizes: Mapping[str, int]) -> tuple[list[int], int]:
        """The offset of each value in bytes, and the size of the arena."""
        lengths = [-(-max(evaluate(b, sizes), 1) // ALIGNMENT) * ALIGNMENT for b in self.bytes]
        offsets = [0] * len(lengths)
        order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], self.intervals[i][0]))
        placed = np.empty((4, 0), np.int64)  # first use, last use, offset and end of what has a place, by offset
        for i in order:
            start, stop = self.intervals[i]
            _, _, lows, highs = placed[:, (placed[0] <= stop) & (placed[1] >= start)]
            reached = np.maximum.accumulate(np.concatenate(([0], highs)))  # before each of them, and after the last
            free = np.flatnonzero(lows - reached[:-1] >= lengths[i])
            offsets[i] = int(reached[free[0] if len(free) else -1])
            row = [start, stop, offsets[i], offsets[i] + lengths[i]]
            placed = np.insert(placed, np.searchsorted(placed[2], offsets[i], "right"), row, axis=1)
        return offsets, int(placed[3].max(initial=0))


def size_limits(graph: Graph) -> dict[str, DimLike]:
    """The most that each dim which the host finds during a run can be, by what it counts."""
    return {decided_dim(n): n.inputs[0].type.size for n in graph.nodes if decides(n)}


def unknown_sizes(graph: Graph) -> dict[str, DimLike]:
    """The dims that kernels decide, which the host never learns, and an upper bound of each."""
    found: dict[str, DimLike] = {}
    for call in graph.nodes:
        for node in call.attrs["function"].nodes if "function" in call.attrs else ():
            if decides(node):
                found[decided_dim(node)] = call.inputs[0].type.size
    return found


def can_stay(graph: Graph, node: Node) -> bool:
    """Whether nobody but kernels needs the size that a node decides: no output has it."""
    returned = (d for _, value in graph.outputs for d in value.shape if isinstance(d, Dim))
    return all(s.name != decided_dim(node) for d in returned for s in symbols(d))
