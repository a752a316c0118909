"""The plan of an executable: the calls of each graph in stages, and the place of every value between calls in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from targets.base.target import ALIGNMENT
from targets.codegen.signature import function_symbols, lookups
from tgraph.ir.analysis import liveness
from tgraph.ir.dims import Dim, DimLike, as_symbol, evaluate, symbols
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.ir.unification import unify_shapes
from tgraph.ir.values import Input, Node, Parameter, Value


def makes_dim(node: Node) -> bool:
    """Whether a node makes a data-dependent dim: the interpreter runs it between stages, or a kernel with an upper bound."""
    return node.op.traits.makes_dim is not None


def dim_made_by(node: Node) -> str:
    """The name of the data-dependent dim that a node makes."""
    assert node.op.traits.makes_dim is not None
    return str(node.attrs[node.op.traits.makes_dim])


@dataclass
class Stage:
    """Calls that one function of the library makes, and what that function takes, in this order.

    That is: inputs, weights, values between kernels (`places` are their numbers in the memory plan), outputs, a status word if it
    `has_status`, an i64[1] for each of `device_extents`, which are names of the sizes that only the device knows, and `sizes` as
    numbers. host: a node with a data-dependent shape that the interpreter runs after the stage.
    """

    name: str
    calls: list[Node] = field(default_factory=list)
    host: Node | None = None
    inputs: list[Value] = field(default_factory=list)
    weights: list[Parameter] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    has_status: bool = False
    device_extents: list[str] = field(default_factory=list)
    sizes: list[Dim] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """The stages of a kernel graph, and where the values between its kernels lie."""

    stages: list[Stage]
    memory: MemoryPlan

    @property
    def in_place(self) -> frozenset[str]:
        """The outputs whose memory must hold the input of that name before a call, which writes a part of it alone."""
        return self.memory.in_place


def plan_program(program: Program) -> dict[str, Plan]:
    """The plan of each graph of kernel calls. The same program gives the same plans, in any process."""
    taken: set[str] = set()
    return {name: plan_stages(graph, taken) for name, graph in program.graphs.items()}


def plan_stages(graph: Graph, taken: set[str]) -> Plan:
    """The plan of one graph; its functions get names that are not `taken`, and these are added."""
    groups: list[tuple[list[Node], Node | None]] = []
    calls: list[Node] = []
    for node in graph.nodes:
        if makes_dim(node):
            groups.append((calls, node))
            calls = []
        else:
            calls.append(node)
    memory = MemoryPlan(graph)
    stages = [Stage(_free(symbol(graph.name, number), taken), calls, host)
              for number, (calls, host) in enumerate([*groups, (calls, None)])]
    for stage in stages:
        _describe(graph, stage, memory)
    return Plan(stages, memory)


def symbol(name: str, number: int = 0) -> str:
    """The symbol, of letters, digits and underscores, of the function that runs a graph, or one of its stages by number."""
    clean = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
    return f"run_{clean}_{number}" if number else f"run_{clean}"


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _describe(graph: Graph, stage: Stage, memory: MemoryPlan) -> None:
    output_names = {**{v: name for name, v in graph.outputs}, **memory.written_over}
    numbers = {v: i for i, v in enumerate(memory.values)}
    tensors: dict[Any, None] = {}
    dims: dict[DimLike, None] = {}
    on_device = device_bounds(graph)
    for node in stage.calls:
        function = node.attrs["function"]
        stage.has_status |= bool(lookups(function))
        tensors.update(dict.fromkeys((*node.inputs, *node.results)))
        dims.update(dict.fromkeys(call_sizes(graph, node)))
    for value in tensors:
        if isinstance(value, Parameter):
            stage.weights.append(value)
        elif value not in memory.written_over and (isinstance(value, Input) or makes_dim(value.node)):
            stage.inputs.append(value)
        elif value in output_names:
            stage.outputs += [output_names[value]] if output_names[value] not in stage.outputs else []
        else:
            stage.places.append(numbers[value])
    stage.sizes = [size for size in dims if isinstance(size, Dim)]
    names = (symbol.name for size in stage.sizes if (symbol := as_symbol(size)) is not None)
    stage.device_extents = [name for name in names if name in on_device]


def call_sizes(graph: Graph, node: Node) -> list[DimLike]:
    """The values of the symbolic sizes of the function that a node calls, in the order of the kernel's parameters."""
    function = node.attrs["function"]
    sizes: dict[str, DimLike] = {}
    for formal, actual in zip(function.inputs, node.inputs):
        unify_shapes(formal.type, actual.type, sizes)
    return [sizes[s] if s in sizes else Dim({((graph.symbols[s], 1),): 1}) for s in function_symbols(function)]


def updates(graph: Graph) -> Iterator[tuple[Value, Value]]:
    """The values of a kernel graph that a call writes over, each with the value that it becomes; the last of a chain first."""
    for call in reversed(graph.nodes):
        function = call.attrs.get("function")
        if isinstance(function, Graph):
            over = [n.operands[n.op.traits.overwrites] for n in function.nodes if n.op.traits.overwrites is not None]
            yield from ((actual, call.result) for formal, actual in zip(function.inputs, call.inputs) if formal in over)


class MemoryPlan:
    """The places of the values between kernels in one arena, for any sizes; values that are alive at the same time never overlap.

    `written_over` are the values that are updated in place before they become the output of that name, `in_place` the outputs
    of which the first such value is the input.

    Greedy by size (arXiv:2001.03288, section 4): large ones first, each at the lowest offset that is free while it is alive.
    """

    def __init__(self, graph: Graph):
        outputs = {v: name for name, v in graph.outputs}
        self.written_over: dict[Value, str] = {}
        for old, new in updates(graph):
            self.written_over[old] = self.written_over.get(new, outputs.get(new, ""))
        self.in_place = frozenset(name for old, name in self.written_over.items() if isinstance(old, Input))
        outputs.update(self.written_over)
        intervals = liveness(graph)
        self.values: list[Value] = [r for n in graph.nodes if not makes_dim(n) for r in n.results if r not in outputs]
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


def host_bounds(graph: Graph) -> dict[str, DimLike]:
    """Upper bounds of the data-dependent dims that nodes between stages make."""
    return {dim_made_by(n): n.inputs[0].type.size for n in graph.nodes if makes_dim(n)}


def device_bounds(graph: Graph) -> dict[str, DimLike]:
    """Upper bounds of the data-dependent dims that kernels make, whose sizes the host never learns."""
    found: dict[str, DimLike] = {}
    for call in graph.nodes:
        for node in call.attrs["function"].nodes if "function" in call.attrs else ():
            if makes_dim(node):
                found[dim_made_by(node)] = call.inputs[0].type.size
    return found


def stays_on_device(graph: Graph, node: Node) -> bool:
    """Whether only kernels need the size of the data-dependent dim that a node makes: no output has the dim."""
    returned = (d for _, value in graph.outputs for d in value.shape if isinstance(d, Dim))
    return all(s.name != dim_made_by(node) for d in returned for s in symbols(d))
