"""Reduction of graphs by delta debugging: finds a small graph on which something still happens, as llvm-reduce does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from passes.transforms.dce import Dce
from tgraph.ir.determined import undetermined
from tgraph.ir.dims import symbols
from tgraph.ir.errors import PassError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program, only_graph
from tgraph.ir.values import Node, Value
from tgraph.ir.verify import verify

Interesting = Callable[[Graph], bool]
Edit = Callable[[Graph, list[Node]], None]  # changes a copy, given its nodes in canonical order


@dataclass
class Reducer:
    """A search in progress: `graph` is the smallest interesting graph so far; `tried` and `kept` count candidates."""

    graph: Graph
    interesting: Interesting
    progress: Callable[[Reducer], None] | None = None
    tried: int = 0
    kept: int = 0

    def run(self) -> Graph:
        """Apply all kinds of edits until none gives an interesting graph. Raises PassError if the graph itself is not."""
        if not self.interesting(self.graph):
            raise PassError(f"graph {self.graph.name} is not interesting as it is: there is nothing to reduce")
        while any([self._one_output(), self._outputs(), self._cut(), self._bypass(), self._operands(), self._inputs()]):
            pass
        return self.graph

    def _one_output(self) -> bool:
        """Make an inner value the only output, so that all after it is dropped; early values first, which drop the most."""
        before = self.kept
        while any(map(self._only, self._positions())):
            pass
        return self.kept > before

    def _positions(self) -> range:
        """The positions of all nodes in a small graph, of about sixteen in a large one."""
        count = len(self.graph)
        return range(count) if count <= 32 else range(count // 16, count, count // 16)

    def _only(self, position: int) -> bool:
        return any(self._try(_output_at(position, r.index)) for r in self.graph.nodes[position].results)

    def _outputs(self) -> bool:
        """Drop outputs: halves of them, quarters, ..., single ones."""
        return self._chunks(lambda: [n for n, _ in self.graph.outputs], lambda names: lambda graph, _: graph.set_outputs(
            [(n, v) for n, v in graph.outputs if n not in names]), at_least=1)

    def _cut(self) -> bool:
        """Replace nodes by new inputs of their types, so that all before them is dropped."""
        return self._chunks(lambda: list(range(len(self.graph))), lambda chosen: lambda graph, nodes: _to_inputs(
            graph, [nodes[i] for i in chosen]))

    def _bypass(self) -> bool:
        """Replace single nodes by one of their operands of the same type."""
        return self._nodes(lambda node: len(node.operands), _bypass)

    def _operands(self) -> bool:
        """Leave out optional operands."""
        return self._nodes(lambda node: len(node.operands), _leave_out)

    def _inputs(self) -> bool:
        """Drop inputs that nothing reads."""
        return self._chunks(lambda: [i.name for i in self.graph.inputs if not i.uses and not self.graph.is_output(i)],
                            lambda names: lambda graph, _: _drop_inputs(graph, names))

    def _nodes(self, choices: Callable[[Node], int], edit: Callable[[Graph, Node, int], None]) -> bool:
        """Try an edit at each node, the last one first, with each of its choices until one is kept."""
        before, position = self.kept, len(self.graph) - 1
        while position >= 0:
            if position < len(self.graph):
                for choice in range(choices(self.graph.nodes[position])):
                    if self._try(lambda graph, nodes, p=position, c=choice: edit(graph, nodes[p], c)):  # type: ignore[misc]
                        break
            position -= 1
        return self.kept > before

    def _chunks(self, things: Callable[[], Sequence[Any]], edit: Callable[[Sequence[Any]], Edit], at_least: int = 0) -> bool:
        """Try an edit on runs of a list: halves first, then ever smaller runs, down to single things (the ddmin algorithm)."""
        before = self.kept
        size = max(len(things()) // 2, 1)
        while size >= 1:
            start = 0
            while start < len(things()):
                present = things()
                chosen = present[start:start + size]
                enough = len(present) - len(chosen) >= at_least
                if not enough or not self._try(edit(chosen)) or len(things()) >= len(present):
                    start += size
            size = size // 2
        return self.kept > before

    def _try(self, edit: Edit) -> bool:
        """Keep the result of an edit if it is valid, smaller and interesting."""
        candidate = self.graph.copy()
        try:
            edit(candidate, candidate.nodes)
            Dce().apply(candidate)
            _forget_constraints(candidate)
            verify(candidate)
        except TGraphError:
            return False
        if undetermined(candidate) is not None and undetermined(self.graph) is None:
            return False
        if _size(candidate) >= _size(self.graph):
            return False
        self.tried += 1
        found = self.interesting(candidate)
        if found:
            self.graph = candidate
            self.kept += 1
        if self.progress is not None:
            self.progress(self)
        return found


def reduce_graph(graph: Graph | Program, interesting: Interesting, progress: Callable[[Reducer], None] | None = None) -> Graph:
    """The smallest graph found that is still interesting; only graphs that verify are tried. The given graph never changes.

    Drops outputs and inputs, cuts off subgraphs at either end, replaces nodes by their operands, leaves out optional operands.
    Raises PassError if the graph itself is not interesting.
    """
    one = only_graph(graph, PassError, "reduce_graph(program[{name}], ...)")
    return Reducer(one.copy(), interesting, progress).run()


def _size(graph: Graph) -> tuple[int, ...]:
    """The size of a graph, compared in this order: nodes, nodes that nothing reads, operands, outputs, leaves."""
    unread = sum(not any(r.uses or graph.is_output(r) for r in n.results) for n in graph.nodes)
    return (len(graph), unread, sum(len(n.inputs) for n in graph.nodes), len(graph.outputs),
            len(graph.inputs) + len(graph.parameters) + len(graph.constants))


def _output_at(position: int, index: int) -> Edit:
    """The edit that makes a result of a node the only output."""
    return lambda graph, nodes: graph.set_outputs([(graph.outputs[0][0], nodes[position].results[index])])


def _to_inputs(graph: Graph, nodes: Sequence[Node]) -> None:
    """Replace the results of nodes by new inputs."""
    taken = {i.name for i in graph.inputs}
    for node in nodes:
        for result in node.results:
            if result.uses or graph.is_output(result):
                name = next(n for n in _names() if n not in taken)
                taken.add(name)
                graph.replace(result, graph.input(name, result.type))


def _names() -> Iterator[str]:
    number = 0
    while True:
        yield f"cut{number}"
        number += 1


def _bypass(graph: Graph, node: Node, position: int) -> None:
    value = node.operands[position]
    if value is None or len(node.results) != 1 or value.type != node.result.type:
        raise PassError("another type")
    graph.replace(node.result, value)


def _leave_out(graph: Graph, node: Node, position: int) -> None:
    if node.operands[position] is None or node.op.variadic or not node.op.operands[position].optional:
        raise PassError("not optional")
    graph.set_operand(node, position, None)


def _drop_inputs(graph: Graph, names: Sequence[str]) -> None:
    graph.inputs = [i for i in graph.inputs if i.name not in names]


def _forget_constraints(graph: Graph) -> None:
    """Drop the constraints on dims that the graph no longer has."""
    values: list[Value] = [*graph.inputs, *(r for n in graph.nodes for r in n.results)]
    known = {s.name for v in values for d in v.shape for s in symbols(d)}
    for required in (graph.constraints, graph.inequalities):
        required[:] = [(a, b) for a, b in required if {s.name for d in (a, b) for s in symbols(d)} <= known]

