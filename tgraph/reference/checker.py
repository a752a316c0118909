"""`tg.check`: compare a compiled graph with the NumPy reference, and find the first node whose result differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol, overload

import numpy as np

from ..ir.binding import bind_inputs
from ..ir.determined import sizes_of_shapes
from ..ir.dims import Symbol, dim
from ..ir.dtypes import bool_
from ..ir.errors import InputError
from ..ir.extract import extract
from ..ir.graph import Graph
from ..ir.tables import html_table
from ..ir.types import TensorType
from ..ir.values import Node, Value
from .inputs import choose_sizes, generate_inputs, smallest_sizes
from .interpreter import Interpreter
from .runnable import Runnable
from .special import Kind, Special, special_inputs
from .tolerance import Comparison, compare, compare_bands, quantizing, stable, tolerance


class Checkable(Runnable, Protocol):
    """The part of an executable that `check` uses."""

    def alone(self, graph: Graph) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]: ...


class CheckableProgram(Protocol):
    """The part of a program's executable that `check` uses: the executable of each graph, by name."""

    @property
    def graphs(self) -> Mapping[str, Checkable]: ...


@dataclass(frozen=True)
class Divergence:
    """The first node of the optimised graph whose own result is wrong on the reference's operands."""

    node: str
    where: str
    comparison: Comparison

    def __str__(self) -> str:
        where = f" {self.where}" if self.where else ""
        return (f"first divergent node: {self.node}{where}\n"
                f"  error {self.comparison.error:.2e}, allowed {self.comparison.tolerance:.0e}")


@dataclass
class Report:
    """The result of a check, true on success; `outputs` has a row for each trial and output, `special` for special inputs."""

    name: str
    outputs: list[tuple[Mapping[str, int], str, Comparison]] = field(default_factory=list)
    special: list[tuple[str, str, Comparison]] = field(default_factory=list)
    divergence: Divergence | None = None

    @property
    def ok(self) -> bool:
        """Whether all outputs agree with the reference, on all inputs."""
        return all(c.ok for _, _, c in (*self.outputs, *self.special))

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        lines = [f"{self.name}: {'ok' if self.ok else 'FAILED'} against the NumPy reference (float64)"]
        for sizes, name, comparison in self.outputs:
            shown = ", ".join(f"{k}={v}" for k, v in sizes.items()) or "static"
            mark = "" if comparison.ok else "  <-- too large"
            lines.append(f"  {shown:<16} {name:<12} error {comparison.error:.2e} of {comparison.tolerance:.0e} allowed{mark}")
        if self.special and all(c.ok for _, _, c in self.special):
            lines.append(f"  special inputs   {', '.join(dict.fromkeys(label for label, _, _ in self.special))}: ok")
        for label, name, comparison in self.special:
            if not comparison.ok:
                lines.append(f"  {label}: {name} error {comparison.error:.2e} of {comparison.tolerance:.0e} allowed"
                             "  <-- too large")
        if self.divergence:
            lines.append(str(self.divergence))
        elif not self.ok:
            lines.append("  each node alone is right on the reference's operands: the difference builds up over the graph")
        return "\n".join(lines)


    def _repr_html_(self) -> str:
        rows = [(", ".join(f"{k}={v}" for k, v in sizes.items()) or "static", name, c) for sizes, name, c in self.outputs]
        rows += [(label, name, c) for label, name, c in self.special]
        title = f"{self.name}: {'ok' if self.ok else 'FAILED'} against the NumPy reference (float64)"
        shown = html_table(title, ("inputs", "output", ">error", ">allowed"),
                           [(inputs, name, f"{c.error:.2e}", f"{c.tolerance:.0e}") for inputs, name, c in rows],
                           [i for i, (_, _, c) in enumerate(rows) if not c.ok])
        return shown + (f"<pre>{escape(str(self.divergence))}</pre>" if self.divergence else "")


class ProgramReport(dict[str, Report]):
    """The reports of a program's graphs, by name; true if all of them are."""

    @property
    def ok(self) -> bool:
        """Whether the reports of all graphs are ok."""
        return all(self.values())

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return "\n".join(map(str, self.values()))

    def _repr_html_(self) -> str:
        return "".join(report._repr_html_() for report in self.values())


@overload
def check(executable: Checkable, inputs: Mapping[str, Any] | None = ..., *, sizes: Sequence[Mapping[str, int]] = ...,
          seed: int = ..., tol: float | None = ...) -> Report: ...
@overload
def check(executable: CheckableProgram, inputs: Mapping[str, Any] | None = ..., *, sizes: Sequence[Mapping[str, int]] = ...,
          seed: int = ..., tol: float | None = ...) -> ProgramReport: ...
def check(executable: Checkable | CheckableProgram, inputs: Mapping[str, Any] | None = None, *,
          sizes: Sequence[Mapping[str, int]] = (), seed: int = 0, tol: float | None = None) -> Report | ProgramReport:
    """Compare an executable with the graph that was given to `compile`, run in float64; of a program, each of its graphs.

    `inputs` are feeds by name (of a program, by graph and name); without them, inputs that respect the graph are generated at
    each of `sizes` (default: two choices of its dims), and for the first of these also the inputs of `special_inputs`. The
    tolerance is that of the outputs' types, or of the least precise type that the optimised graph computes or stores in; `tol`
    overrides it. With special inputs, elements whose value depends on rounding (they overflow, say) do not count.
    """
    if hasattr(executable, "graphs"):
        reports = ProgramReport()
        for name, one in executable.graphs.items():
            if inputs is None or name in inputs:
                known = [{n: size for n, size in trial.items() if n in one.graph.symbols} for trial in sizes]
                reports[name] = check(one, None if inputs is None else inputs[name], sizes=known, seed=seed, tol=tol)
        return reports
    graph = executable.graph
    report = Report(graph.name)
    trials = trial_sizes(graph, sizes)
    reduced = reduced_tolerance(executable.optimized)
    runs = [inputs] if inputs is not None else [generate_inputs(graph, s, seed + i) for i, s in enumerate(trials)]
    for position, feeds in enumerate(runs):
        shown = trials[position] if inputs is None else sizes_of(graph, feeds)
        reference = Interpreter(graph, weights=executable.weights).run(feeds)
        results = executable.run(feeds)
        comparisons = []
        for name, value in graph.outputs:
            allowed = max(tolerance(value.dtype), reduced) if value.dtype.is_float else 0.0
            comparison = compare(results[name], reference[name], allowed if tol is None else tol)
            comparisons.append((shown, name, comparison))
        report.outputs += comparisons
        if report.divergence is None and not all(c.ok for _, _, c in comparisons):
            report.divergence = first_divergence(executable, feeds, tol)
    for special in special_inputs(graph, trials[0], seed) if inputs is None else ():
        if special.kind == "huge":  # whether a sum of such overflows in between depends on its order
            continue
        found = _check_special(executable, special, reduced, tol)
        report.special += found
        if report.divergence is None and not all(c.ok for _, _, c in found):
            report.divergence = first_divergence(executable, special.feeds, tol, special.kind)
    return report


def _check_special(executable: Checkable, special: Special, reduced: float,
                   tol: float | None) -> list[tuple[str, str, Comparison]]:
    """Compare the outputs for one set of special inputs; an empty list if the reference refuses these inputs."""
    graphs = (executable.graph, executable.optimized)
    runs: dict[tuple[int, bool], dict[str, np.ndarray]] = {}

    def run(which: int, faithful: bool) -> dict[str, np.ndarray]:
        if (which, faithful) not in runs:
            interpreter = Interpreter(graphs[which], weights=executable.weights, faithful=faithful)
            runs[which, faithful] = interpreter.run(special.feeds)
        return runs[which, faithful]

    try:
        run(0, False)
    except InputError:
        return []
    results = executable.run(special.feeds)
    found = []
    for name, value in executable.graph.outputs:
        allowed = tol if tol is not None else max(tolerance(value.dtype), reduced) if value.dtype.is_float else 0.0
        comparison = compare(results[name], run(0, False)[name], allowed)
        if not comparison.ok:
            # what masks exclude may lose its NaN on the way to the optimised graph, whose kernels then must do what it says
            r = run(1 if special.kind in ("nan", "infinite") else 0, False)[name]
            kept = stable(run(0, False)[name], run(0, True)[name]) & stable(run(1, False)[name], run(1, True)[name])
            comparison = _compare_kept(results[name], r, kept, special.kind, allowed)
        found.append((special.label, name, comparison))
    return found


def _compare_kept(y: np.ndarray, r: np.ndarray, kept: np.ndarray, kind: Kind, allowed: float) -> Comparison:
    if kind in ("huge", "infinite") and r.dtype.kind in "fV":
        kept = kept & np.isfinite(r)
    return compare_bands(y[kept], r[kept], allowed)


def first_divergence(executable: Checkable, feeds: Mapping[str, Any], tol: float | None = None,
                     kind: Kind = "ordinary") -> Divergence | None:
    """The first node of the optimised graph that gives a wrong result when it runs alone on the reference's operands, if any."""
    graph = executable.optimized
    trace: dict[Node, tuple[Sequence[np.ndarray | None], Sequence[np.ndarray]]] = {}

    def observe(node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        trace[node] = operands, results

    arrays, sizes = bind_inputs(graph, feeds)  # a run adds the data-dependent ones
    Interpreter(graph, weights=executable.weights, observer=observe).run_bound([arrays[i.name] for i in graph.inputs], sizes)
    for node in graph.nodes:
        operands, results = trace[node]
        known = {v: o for v, o in zip(node.operands, operands) if v is not None and o is not None}
        part, arguments, _ = extract(graph, [node], "alone")
        part_feeds = {i.name: _round(known[v], v) for i, v in zip(part.inputs, arguments)}
        part_feeds.update(_say_sizes(part, sizes, graph.symbols))
        actual = executable.alone(part)(part_feeds)
        exact = Interpreter(part, weights=executable.weights).run(part_feeds)
        for (name, value), _result in zip(part.outputs, results):
            allowed = tolerance(value.dtype) if tol is None else tol
            comparison = compare(actual[name], exact[name], allowed)
            if not comparison.ok and kind != "ordinary":
                rounded = Interpreter(part, weights=executable.weights, faithful=True).run(part_feeds)[name]
                comparison = _compare_kept(actual[name], exact[name], stable(exact[name], rounded), kind, allowed)
            if not comparison.ok:
                function = node.attrs.get("function")
                label = f"call ${function.name}" if isinstance(function, Graph) else node.op.name
                types = ", ".join(str(v.type) for v in node.inputs)
                return Divergence(f"{label}({types})", node.provenance.describe(), comparison)
    return None


def _say_sizes(part: Graph, sizes: Mapping[str, int], bounds: Mapping[str, Symbol]) -> dict[str, np.ndarray]:
    """Add an input of size 0 to a part for each dim whose size its other inputs do not determine. Returns the feeds for them."""
    feeds = {}
    known = sizes_of_shapes(i.type for i in part.inputs)
    for name in sizes.keys() - known:
        symbol = bounds.get(name, Symbol(name))
        input = part.input(f"size of {name}", TensorType(bool_, (0, dim(name, min=symbol.min, max=symbol.max))))
        feeds[input.name] = np.zeros((0, sizes[name]), bool)
    return feeds


def _round(array: np.ndarray, value: Value) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(value.dtype.numpy, copy=False)


def trial_sizes(graph: Graph, sizes: Sequence[Mapping[str, int]] = ()) -> list[dict[str, int]]:
    """The sizes asked for, or two choices of the graph's dims: typical ones, and the smallest."""
    base = choose_sizes(graph)
    return [dict(s) for s in sizes] or ([base, smallest_sizes(graph)] if base else [{}])


def reduced_tolerance(graph: Graph) -> float:
    """The tolerance of the least precise floating type in a graph and the functions that it calls, or of integers."""
    nodes = [n for block in (*graph.functions.values(), graph) for n in block.nodes]
    floats = [tolerance(r.dtype) for n in nodes for r in n.results if r.dtype.is_float]
    return max([0.0, *floats, *map(quantizing, nodes)])


def sizes_of(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that feeds have."""
    return bind_inputs(graph, feeds)[1]
