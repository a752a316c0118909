"""`tg.trace_nonfinite`: the first node that makes a NaN or an infinity of finite numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir.binding import bind_inputs
from ..ir.graph import Graph
from ..ir.printer import node_lines, value_names
from ..ir.program import Program
from ..ir.values import Constant, Input, Node, Parameter, Value
from .inputs import generate_inputs
from .interpreter import Interpreter
from .node_values import NodeName, Observable, On, node_names, sides
from .statistics import Statistics


@dataclass(frozen=True)
class Maker:
    """A node with a result that is not finite, of operands that are: its line in the text, where it comes from, the first place
    in the result, and the numbers of result and operands by what the text calls them."""

    name: NodeName
    line: str
    where: str
    place: tuple[int, ...]
    result: Statistics
    operands: Mapping[str, Statistics]

    def __str__(self) -> str:
        lines = [f"first made by {self.line}" + (f"\n  {self.where}" if self.where else ""),
                 f"  result     {_kinds(self.result)} of {math.prod(self.result.shape)} elements, first at {list(self.place)}"]
        return "\n".join([*lines, *(f"  {name:<10} {_range(one)}" for name, one in self.operands.items())])


@dataclass
class NonfiniteReport:
    """What was not finite in a run, true if nothing is but what the graph was given (fills of masks, say).

    first: the first node that made such a number of finite ones, in the order of the graph; makers: how many did. sources:
    inputs, parameters and constants that have some. outputs: those of the graph that have some.
    """

    name: str
    first: Maker | None = None
    makers: int = 0
    sources: dict[str, Statistics] = field(default_factory=dict)
    outputs: dict[str, Statistics] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing makes a NaN or an infinity."""
        return self.first is None and not self.outputs

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        lines = [f"{self.name}: " + ("all finite" if self.ok else "not finite")]
        if self.outputs:
            lines[0] += f" in {', '.join(f'{name} ({_kinds(one)})' for name, one in self.outputs.items())}"
        if self.first is not None:
            lines.append(str(self.first))
            if self.makers > 1:
                lines.append(f"  {self.makers - 1} later nodes make some of finite operands, too")
        lines += [f"  given in {name}: {_kinds(one)}" for name, one in self.sources.items()]
        return "\n".join(lines)


def trace_nonfinite(model: Observable | Graph | Program, inputs: Mapping[str, Any] | None = None, *, on: On = "target",
                    seed: int = 0) -> NonfiniteReport:
    """Run a graph, and find the first node that makes NaN or an infinity of finite operands.

        report = tg.trace_nonfinite(exe, {"x": x})
        print(report)  # the node, its scope and line, the ranges of its operands

    Of an executable that is a node of the graph that its passes made, as its target computes it, by a program in which all values
    are outputs; what a kernel keeps to itself is not seen. With on="reference", and of a Graph, NumPy computes the graph as it
    was given, each value at the precision of its type. inputs: feeds by name, by default generated ones.

    Raises GraphError for a program of several graphs, CompileError for an executable without the original weights.
    """
    graph, executable = sides(model, "tg.trace_nonfinite")
    feeds = generate_inputs(graph, seed=seed) if inputs is None else inputs
    if executable is None or on == "reference":
        weights = graph.weights if executable is None else executable.weights
        found = _Search(graph, weights)
        outputs = Interpreter(graph, faithful=True, weights=weights, observer=found.see).run(feeds)
    else:
        graph = executable.optimized
        found = _Search(graph, executable.weights)
        arrays = executable.node_values(feeds, graph.nodes)
        given, _ = bind_inputs(graph, feeds)
        known = dict[Value, np.ndarray](arrays)
        known.update((i, np.asarray(given[i.name])) for i in graph.inputs)
        for node in graph.nodes:
            found.see(node, [None if v is None else known[v] if v in known else found.leaf(v) for v in node.operands],
                      [known[r] for r in node.results])
        outputs = executable.run(feeds)
    report = found.report
    report.outputs = {name: one for name, array in outputs.items() if (one := _odd(np.asarray(array))) is not None}
    bound, _ = bind_inputs(graph, feeds)
    for leaf in (*graph.inputs, *graph.parameters.values(), *graph.constants.values()):
        array = np.asarray(bound[leaf.name]) if isinstance(leaf, Input) else found.leaf(leaf)
        if leaf.uses and (one := _odd(array)) is not None:
            what = {Input: "input", Parameter: "parameter", Constant: "constant"}[type(leaf)]
            report.sources[f"{what} {found.texts[leaf]}"] = one
    return report


class _Search:
    """Looks at one node after the other."""

    def __init__(self, graph: Graph, weights: Mapping[str, np.ndarray]):
        self.graph, self.weights = graph, weights
        self.report = NonfiniteReport(graph.name)
        self.texts = value_names(graph)

    def leaf(self, value: Value) -> np.ndarray:
        """The data of a parameter or constant."""
        return Interpreter(self.graph, faithful=True, weights=self.weights).leaf(value, {})

    def see(self, node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        made = [(r, a) for r, a in zip(node.results, results) if _odd(a) is not None]
        if not made or any(_odd(o) is not None for o in operands if o is not None):
            return
        self.report.makers += 1
        if self.report.first is None:
            value, array = made[0]
            place = np.argwhere(~np.isfinite(array.astype(np.float64)))[0]
            shown = {self.texts[v]: Statistics.of(o) for v, o in zip(node.operands, operands) if v is not None and o is not None}
            self.report.first = Maker(node_names(self.graph)[value], node_lines(self.graph)[node], node.provenance.describe(),
                                      tuple(int(i) for i in place), Statistics.of(array), shown)


def _odd(array: np.ndarray) -> Statistics | None:
    """The numbers of an array of floats that are not all finite."""
    if array.dtype.kind not in "fV" or np.isfinite(array.astype(np.float64)).all():
        return None
    return Statistics.of(array)


def _kinds(one: Statistics) -> str:
    return " and ".join(_counts(one))


def _counts(one: Statistics) -> Iterator[str]:
    if one.nans:
        yield f"{one.nans} NaN"
    if one.infinities:
        yield f"{one.infinities} infinite"


def _range(one: Statistics) -> str:
    zeros = f", {one.zeros} zeros" if one.zeros else ""
    return f"{list(one.shape)} from {one.low:.6g} to {one.high:.6g}{zeros}"
