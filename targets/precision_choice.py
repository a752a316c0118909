"""`precision="auto"`: of the ways to compute a program, the fastest on a target that stays within a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from passes.manager import run_pipeline
from passes.pipelines import Pipeline, passes_of
from passes.precision import precision_passes
from targets.base.registry import backend_of
from targets.base.target import Target
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.reference.inputs import choose_sizes, generate_inputs
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.tolerance import compare

AUTO = "auto"
EXACT = ("f32", "f32")


@dataclass(frozen=True)
class Trial:
    """A way to compute, as `tg.compile` takes it, and the largest error of any output, as `tg.check` measures errors."""

    precision: str
    weights: str
    error: float

    def __str__(self) -> str:
        return f'precision="{self.precision}", weights="{self.weights}"'


@dataclass(frozen=True)
class PrecisionChoice:
    """What `precision="auto"` took: the last of `trials`. Those before it are faster, and their errors above the tolerance."""

    tolerance: float
    trials: tuple[Trial, ...]

    @property
    def taken(self) -> Trial:
        return self.trials[-1]

    def __str__(self) -> str:
        others = "".join(f"; too large for {trial}: {trial.error:.1e}" for trial in self.trials[:-1])
        return f"{self.taken}, error {self.taken.error:.1e} of {self.tolerance:.1e} allowed{others}"


def choose_precision(program: Program, target: Target, pipeline: Pipeline, tolerance: float | None) -> PrecisionChoice:
    """Try the ways that a target has, the fastest first, until one stays within the tolerance; f32 always does.

    Errors are those of the optimised graphs, run by the reference at the precision of their types, against the graphs given, run
    in float64, on one set of generated inputs: the same on every machine, and nothing is compiled for it.
    Raises PassError if the tolerance is missing or not above 0.
    """
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not tolerance > 0:
        raise PassError('precision="auto" takes the fastest way to compute within an error that you state: tolerance=1e-2 allows '
                        f"1 % of the largest element of an output; got tolerance={tolerance!r}")
    feeds = {name: generate_inputs(graph, choose_sizes(graph)) for name, graph in program.graphs.items()}
    exact = {name: Interpreter(graph, weights=program.weights).run(feeds[name]) for name, graph in program.graphs.items()}
    trials: list[Trial] = []
    for precision, weights in backend_of(target).fastest_first(target):
        passes = [*passes_of(pipeline),
                  *precision_passes(precision, weights, activations=backend_of(target).half_activations)]
        error = max(_error(run_pipeline(graph, passes)[0], feeds[name], exact[name], program)
                    for name, graph in program.graphs.items())
        trials.append(Trial(precision, weights, error))
        if error <= tolerance or (precision, weights) == EXACT:
            break
    return PrecisionChoice(float(tolerance), tuple(trials))


def _error(optimized: Graph, feeds: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray], program: Program) -> float:
    """The largest error of an output; of integers and booleans, which must be equal, any difference counts as 1 at least."""
    found = Interpreter(optimized, faithful=True, weights=program.weights).run(feeds)
    errors = [compare(found[name], exact[name], 0.0).error for name in exact]
    return max((max(error, 1.0) if error and not value.dtype.is_float else error
                for error, (_, value) in zip(errors, optimized.outputs)), default=0.0)
