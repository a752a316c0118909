"""Splitting off the prepare part: what depends on parameters alone goes into one graph, which runs before all calls."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.ir.values import Constant, Node, Parameter, Result, Value


def split_prepare(program: Program) -> tuple[Graph, Program]:
    """A program as two: a graph without inputs that makes every tensor known beforehand, and the rest, which reads those.

    Graphs that read the same tensor share it. It is a parameter of the rest, named after the first one that it is made of.
    """
    prepare = _Prepare(program)
    rest = Program()
    for name, graph in program.graphs.items():
        rest.add(name, _rest(graph, prepare, Graph(graph.name, rest.weights)))
    prepare.graph.set_outputs((name, value) for value, name in prepare.names.items())
    return prepare.graph, rest


def _rest(graph: Graph, prepare: _Prepare, rest: Graph) -> Graph:
    """Fill `rest` with a graph less its prepare part."""
    parameter_only = prepared(graph, ("call",))  # calls are kernels: what belongs to the prepare part was not made one
    needed: dict[Value, None] = {}
    for node in graph.nodes:
        if node not in parameter_only:
            needed.update(dict.fromkeys(v for v in node.inputs if is_prepared(v, parameter_only)))
    needed.update(dict.fromkeys(v for _, v in graph.outputs if is_prepared(v, parameter_only)))
    rest.symbols, rest.constraints, rest.inequalities = dict(graph.symbols), list(graph.constraints), list(graph.inequalities)
    rest.states = dict(graph.states)
    mapping: dict[Value, Value] = {i: rest.input(i.name, i.type) for i in graph.inputs}
    made: dict[Value, Value] = {}
    mapping.update({v: rest.parameter(prepare.name_of(v, made), v.type) for v in needed})
    for node in graph.nodes:
        if node not in parameter_only:
            mapping.update(zip(node.results, rest.clone(node, mapping).results))
    rest.set_outputs((name, mapping[v]) for name, v in graph.outputs)
    return rest


class _Prepare:
    """The prepare graph as it grows; equal computations of several graphs are one in it."""

    def __init__(self, program: Program):
        self.graph = Graph("prepare", program.weights)
        self.names: dict[Value, str] = {}  # of its outputs
        self._taken: set[str] = set()
        self._computed: dict[Hashable, Node] = {}

    def name_of(self, value: Value, made: dict[Value, Value]) -> str:
        """The name of the output that is a value of another graph; `made`: what that graph's values are here."""
        self._bring(value, made)
        own = made[value]
        if own not in self.names:
            base = value.name if isinstance(value, Parameter) else f"{_first_parameter(value)}.{_kind(value)}".lstrip(".")
            name, number = base, 1
            while name in self._taken:
                number += 1
                name = f"{base}.{number}"
            self._taken.add(name)
            self.names[own] = name
        return self.names[own]

    def _bring(self, value: Value, made: dict[Value, Value]) -> None:
        """Copy a value, and all that it is computed from."""
        pending = [value]
        while pending:
            current = pending[-1]
            missing = [v for v in current.node.inputs if v not in made] if isinstance(current, Result) else []
            if missing and current not in made:
                pending += missing
                continue
            pending.pop()
            if isinstance(current, Parameter):
                made[current] = self.graph.parameter(current.name, current.type)
            elif isinstance(current, Constant):
                made[current] = (self.graph.opaque_constant(current.type, current.digest) if current.data is None
                                 else self.graph.constant(current.data, current.dtype))
            elif isinstance(current, Result) and current not in made:
                made.update(zip(current.node.results, self._twin(current.node, made).results))

    def _twin(self, node: Node, made: Mapping[Value, Value]) -> Node:
        """The node of the prepare graph that computes what another graph's does."""
        key = node.computation([None if v is None else made[v] for v in node.operands])
        if key not in self._computed:
            self._computed[key] = self.graph.clone(node, made)
        return self._computed[key]


def _kind(value: Value) -> str:
    return value.node.op.name if isinstance(value, Result) else "constant"


def _first_parameter(value: Value) -> str:
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        if isinstance(current, Parameter):
            return current.name
        if isinstance(current, Result):
            above = [v for v in dict.fromkeys(current.node.inputs) if v not in seen]
            seen.update(above)
            pending += reversed(above)
    return ""
