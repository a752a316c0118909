"""`tg.compare`: two graphs on the same inputs, whether their outputs agree, and where they part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir.correspondence import correspondence
from ..ir.errors import CompileError, InputError
from ..ir.graph import Graph
from ..ir.printer import node_lines
from ..ir.program import Program
from ..ir.values import Node, Value
from .checker import reduced_tolerance, sizes_of
from .inputs import choose_sizes, generate_inputs
from .interpreter import Interpreter
from .node_values import Observable, reference_values, sides
from .tolerance import Comparison, compare, tolerance

Side = Observable | Graph | Program


@dataclass(frozen=True)
class Parting:
    """The first two nodes that correspond, and whose values differ: their lines in the text, scopes and source lines."""

    first: str
    second: str
    first_where: str
    second_where: str
    comparison: Comparison

    def __str__(self) -> str:
        lines = [f"they part at   {self.first}", f"               {self.first_where}", f"and            {self.second}",
                 f"               {self.second_where}",
                 f"               error {self.comparison.error:.2e}, allowed {self.comparison.tolerance:.0e}"]
        return "\n".join(line for line in lines if line.strip())


@dataclass
class ComparisonReport:
    """Whether two graphs agree, true if they do. outputs: a row for each, by its name in the first graph.

    matched: how many nodes correspond, and have values at hand; parting: the first of them that differ, None if outputs agree.
    notes: what was taken for what.
    """

    first: str
    second: str
    sizes: dict[str, int]
    outputs: dict[str, Comparison] = field(default_factory=dict)
    parting: Parting | None = None
    matched: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all outputs agree."""
        return all(c.ok for c in self.outputs.values())

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items()) or "static sizes"
        lines = [f"{self.first} and {self.second} {'agree' if self.ok else 'DIFFER'} at {sizes}"]
        for name, c in self.outputs.items():
            lines.append(f"  {name:<12} error {c.error:.2e} of {c.tolerance:.0e} allowed{'' if c.ok else '  <-- too large'}")
        lines += [f"  {note}" for note in self.notes]
        if self.parting is not None:
            lines.append(str(self.parting))
        elif not self.ok:
            lines.append(f"  the values of all {self.matched} nodes that correspond agree: they part where the graphs differ")
        return "\n".join(lines)


def compare_graphs(a: Side, b: Side, inputs: Mapping[str, Any] | None = None, *, sizes: Mapping[str, int] | None = None,
                   seed: int = 0, tol: float | None = None) -> ComparisonReport:
    """Run two graphs on the same inputs: executables on their targets, graphs in NumPy in float64.

        report = tg.compare(graph, tg.optimize(graph, "fuse-qkv"))
        assert report, report

    Inputs and outputs go by name, or by place where names differ and their number does not. inputs: feeds by the first graph's
    names; by default generated at `sizes`. An output's tolerance is that of the less precise of the two types, or of the least
    precise one that a compiled graph computes in; `tol` overrides it. If outputs differ, the nodes of both graphs that correspond
    by scope, op and structure are compared in order, and the first that differ are reported; of executables, those of the
    optimised graph.

    Raises InputError for graphs whose inputs or outputs do not fit together, GraphError for programs of several graphs.
    """
    (graph, one), (other, two) = sides(a, "tg.compare"), sides(b, "tg.compare")
    report = ComparisonReport(graph.name, other.name, {})
    names = _paired("input", [(i.name, i) for i in graph.inputs], [(i.name, i) for i in other.inputs], report)
    if inputs is None:
        inputs = generate_inputs(graph, choose_sizes(graph, sizes), seed)
    report.sizes = sizes_of(graph, inputs)
    theirs = {names[name]: array for name, array in inputs.items() if name in names}
    outputs = _paired("output", graph.outputs, other.outputs, report)
    found, expected = _run(graph, one, inputs), _run(other, two, theirs)
    least = max((reduced_tolerance(e.optimized) for e in (one, two) if e is not None), default=0.0)
    types = {name: v.dtype for name, v in graph.outputs}, {name: v.dtype for name, v in other.outputs}
    for name, twin in outputs.items():
        floats = types[0][name].is_float and types[1][twin].is_float
        allowed = max(tolerance(types[0][name]), tolerance(types[1][twin]), least if floats else 0.0) if tol is None else tol
        report.outputs[name] = compare(np.asarray(found[name]), np.asarray(expected[twin]), allowed)
    if not report.ok:
        try:
            _find_parting(report, (graph, one, inputs), (other, two, theirs), least, tol)
        except CompileError as error:  # a bundle without its weights shows no values
            report.notes.append(f"where they part is not known: {error}")
    return report


def _run(graph: Graph, executable: Observable | None, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return Interpreter(graph).run(feeds) if executable is None else executable.run(feeds)


def _paired(what: str, ours: list[tuple[str, Any]], theirs: list[tuple[str, Any]], report: ComparisonReport) -> dict[str, str]:
    """The names of the second graph by those of the first. Raises InputError if they do not fit together."""
    a, b = dict(ours), dict(theirs)
    if a.keys() == b.keys():
        pairs = dict(zip(a, a))
    elif len(a) == len(b):
        pairs = dict(zip(a, b))
        changed = ", ".join(f"{x} is {y}" for x, y in pairs.items() if x != y)
        report.notes.append(f"{what}s by place: {changed}")
    else:
        raise InputError(f"{report.first} has the {what}s {', '.join(a) or 'none'}, {report.second} {', '.join(b) or 'none'}; "
                         "they cannot be compared")
    for x, y in pairs.items():
        kinds = [v.dtype if what == "input" else v.dtype.is_float for v in (a[x], b[y])]
        if kinds[0] != kinds[1] or a[x].type.rank != b[y].type.rank:
            raise InputError(f"{what} {x!r} of {report.first} is {a[x].type}, {y!r} of {report.second} {b[y].type}; "
                             "they cannot be compared")
    return pairs


def _find_parting(report: ComparisonReport, ours: tuple[Graph, Observable | None, Mapping[str, Any]],
                  theirs: tuple[Graph, Observable | None, Mapping[str, Any]], least: float, tol: float | None) -> None:
    """Compare the values of nodes that correspond."""
    first, second = (graph if exe is None else exe.optimized for graph, exe, _ in (ours, theirs))
    pairs = correspondence(first, second)
    left, right = _observed(ours, set(pairs)), _observed(theirs, set(pairs.values()))
    texts = node_lines(first), node_lines(second)
    for x, y in pairs.items():
        for r, s in zip(x.results, y.results):
            report.matched += 1
            allowed = max(tolerance(r.dtype), least if r.dtype.is_float else 0.0) if tol is None else tol
            comparison = compare(left[r], right[s], allowed)
            if not comparison.ok:
                report.parting = Parting(texts[0][x], texts[1][y], x.provenance.describe(), y.provenance.describe(), comparison)
                return


def _observed(side: tuple[Graph, Observable | None, Mapping[str, Any]], nodes: set[Node]) -> dict[Value, np.ndarray]:
    graph, executable, feeds = side
    return reference_values(graph, feeds, nodes) if executable is None else executable.node_values(feeds, nodes)
