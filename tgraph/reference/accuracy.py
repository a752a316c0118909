"""The error of reduced precision: an executable compared with its graph computed in f32, output by output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..ir.tables import html_table, text_table
from .checker import Checkable, CheckableProgram, sizes_of, trial_sizes
from .inputs import generate_inputs
from .interpreter import Interpreter


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of an output at some sizes: absolute errors, and the mean and lowest cosine of rows along the last axis."""

    sizes: Mapping[str, int]
    output: str
    largest: float  # max|r|, what the errors are to be seen against
    max_error: float
    mean_error: float
    cosine: float
    lowest_cosine: float


@dataclass
class AccuracyReport:
    """A table of accuracies, one row for each trial and floating output."""

    name: str
    rows: list[Accuracy] = field(default_factory=list)

    COLUMNS: ClassVar[tuple[str, ...]] = ("sizes", "output", ">max|f32|", ">max error", ">mean error", ">cosine", ">lowest")

    def cells(self) -> list[tuple[str, ...]]:
        """The table as text, one tuple a row."""
        return [(", ".join(f"{k}={v}" for k, v in r.sizes.items()) or "static", r.output, f"{r.largest:.3g}",
                 f"{r.max_error:.2e}", f"{r.mean_error:.2e}", f"{r.cosine:.6f}", f"{r.lowest_cosine:.6f}") for r in self.rows]

    def __str__(self) -> str:
        return f"{self.name} against f32\n{text_table(self.COLUMNS, self.cells())}"

    def _repr_html_(self) -> str:
        return html_table(f"{self.name} against f32", self.COLUMNS, self.cells())


def accuracy(executable: Checkable | CheckableProgram, inputs: Mapping[str, Any] | None = None, *,
             sizes: Sequence[Mapping[str, int]] = (), seed: int = 0) -> AccuracyReport:
    """Compare an executable with the graph given to `compile`, computed by NumPy at the precision of its types.

    `inputs` are feeds by name; without them, inputs are generated at each of `sizes`, as `check` does. The outputs of a program's
    graphs are named `encode.memory`, its inputs are feeds by graph.
    """
    if hasattr(executable, "graphs"):
        reports = {name: accuracy(one, None if inputs is None else inputs[name], sizes=sizes, seed=seed)
                 for name, one in executable.graphs.items() if inputs is None or name in inputs}
        rows = [replace(row, output=f"{name}.{row.output}") for name, each in reports.items() for row in each.rows]
        return AccuracyReport(", ".join(reports), rows)
    graph = executable.graph
    report = AccuracyReport(graph.name)
    trials = trial_sizes(graph, sizes)
    runs = [inputs] if inputs is not None else [generate_inputs(graph, s, seed + i) for i, s in enumerate(trials)]
    for position, feeds in enumerate(runs):
        shown = trials[position] if inputs is None else sizes_of(graph, feeds)
        expected = Interpreter(graph, faithful=True, weights=executable.weights).run(feeds)
        found = executable.run(feeds)
        report.rows += [_compare(shown, name, found[name], expected[name]) for name, v in graph.outputs
                        if v.dtype.is_float and expected[name].size]
    return report


def _compare(sizes: Mapping[str, int], name: str, found: np.ndarray, expected: np.ndarray) -> Accuracy:
    y, r = (np.atleast_1d(a.astype(np.float64)) for a in (found, expected))
    error = np.abs(y - r)
    lengths = np.sqrt((y * y).sum(axis=-1) * (r * r).sum(axis=-1))  # of equal rows that of their product, to the last bit
    cosine = np.where(lengths > 0, (y * r).sum(axis=-1) / np.where(lengths > 0, lengths, 1.0), 1.0)
    return Accuracy(sizes, name, float(np.abs(r).max()), float(error.max()), float(error.mean()), float(cosine.mean()),
                    float(cosine.min()))
