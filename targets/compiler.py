"""`tg.compile`: a graph or program and a target to an executable."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import overload

from passes.base import Pass
from passes.manager import PassRecord, rewrite_each, run_pipeline
from passes.pipelines import Pipeline, passes_of
from passes.precision import precision_passes
from targets.base.ending import before_the_end
from targets.base.forks import ForkedError
from targets.base.registry import backend_of
from targets.base.room import enough_memory, out_of_memory, require
from targets.base.target import Target
from targets.lowering.lower import lower
from targets.lowering.rebuild import find_failed
from targets.lowering.select_kernels import SelectKernels
from targets.lowering.split_prepare import split_prepare
from targets.lowering.stages import plan_program
from targets.precision_choice import AUTO, choose_precision
from targets.runtime.cache import find_entry
from targets.runtime.compiled import Compiled
from targets.runtime.executable import Executable
from targets.runtime.library import Library
from targets.runtime.loaded_weights import LoadedWeights
from targets.runtime.prepare import evaluate_prepare
from targets.runtime.program_executable import ProgramExecutable
from tgraph.ir.determined import undetermined
from tgraph.ir.errors import CompileError, PassError, first_line
from tgraph.ir.graph import Graph
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.ir.program import Program, as_program
from tgraph.ir.verify import verify

Progress = Callable[[str], None]
COMPILING = 256 << 20  # bytes that must be free under a limit: LLVM ends the process where it finds no memory


@overload
def compile(graph: Graph, target: str | Target = ..., *, level: str = ..., passes: Pipeline | None = ...,
            precision: str = ..., weights: str = ..., tolerance: float | None = ..., cache: bool = ...,
            progress: Progress | None = ...) -> Executable: ...
@overload
def compile(graph: Program, target: str | Target = ..., *, level: str = ..., passes: Pipeline | None = ...,
            precision: str = ..., weights: str = ..., tolerance: float | None = ..., cache: bool = ...,
            progress: Progress | None = ...) -> ProgramExecutable: ...
def compile(graph: Graph | Program, target: str | Target = "cpu", *, level: str = DEFAULT_LEVEL,
            passes: Pipeline | None = None, precision: str = "f32", weights: str = "f32", tolerance: float | None = None,
            cache: bool = True, progress: Progress | None = None) -> Executable | ProgramExecutable:
    """Compile a graph for a target, or all graphs of a program, over one set of weights.

    target: "cpu" (this machine), "cpu:skylake-avx512", "cuda" (this machine's GPU), "cuda:sm_90", "numpy". level: the pipeline of
    passes, O0 to O3; `passes` replaces it: a text, a pass, or a list of both.
    precision, weights: what products are computed in, and how weights are stored (docs/precision.md). precision="auto" takes the
    fastest of the target's ways whose error on generated inputs is at most `tolerance`, and the executable's `choice` says which.
    cache: take what an earlier compilation of the same graph left on disk, and leave it there for the next one
    (docs/performance.md); the executable's `cache` says how that went. progress: called with the name of each step. The graph
    itself does not change.

    Warns of a precision that a CPU is known to be no faster in than in f32 (docs/precision.md).
    Raises TargetError for an unknown target, PassError for an unknown pass or precision, CompileError for a graph that cannot be
    compiled, and OutOfMemoryError.
    """
    with before_the_end(), enough_memory(f"compiling for target {target}"):
        step = progress or (lambda _: None)
        where = Target.parse(target)
        backend = backend_of(where)
        program = as_program(graph, CompileError).named()
        verify(program)
        for one in program.graphs.values():
            _check_sizes(one)
        _check_data(program)
        pipeline = level if passes is None else passes
        choice = None
        if precision == AUTO:
            if weights != "f32":
                raise PassError(f'precision="auto" chooses how weights are stored, too: leave out weights="{weights}"')
            step("precision")
            choice = choose_precision(program, where, pipeline, tolerance)
            precision, weights = choice.taken.precision, choice.taken.weights
        elif tolerance is not None:
            raise PassError(f'tolerance={tolerance} is for precision="auto", and precision is "{precision}"')
        steps = [*passes_of(pipeline), *precision_passes(precision, weights, activations=backend.half_activations)]
        if precision != "f32" and choice is None:
            _warn_of_precision(where, precision, weights)
        step("compile cache")
        keep = cache and backend.emitters is not None
        entry = find_entry(program, steps, where, {"precision": precision, "weights": weights} if keep else None)
        compiled = entry.load(program.weights) or _compile(program, where, steps, step)
        if not entry.result.hit:
            step("link")
            entry.keep(compiled)
        compiled.choice = choice
        compiled.cache = entry.result if backend.emitters is not None else None
        step("prepare weights")
        loaded = LoadedWeights(program, compiled, evaluate_prepare(compiled.prepare, program.weights))
        if isinstance(graph, Program):
            return ProgramExecutable(program, compiled, loaded, compile)
        return Executable(program, graph.name, compiled, loaded, compile)


def _warn_of_precision(target: Target, precision: str, weights: str) -> None:
    why = backend_of(target).no_faster(target, precision)
    if why:
        hint = f'; weights="{precision}" alone halves the memory for weights, and computes in f32' if weights == "f32" else ""
        warnings.warn(f'precision="{precision}" is no faster than "f32" on {target}: {why}{hint}', stacklevel=3)


def _compile(program: Program, target: Target, passes: Sequence[Pass], step: Progress) -> Compiled:
    """From scratch: the passes over each graph, the target's own last passes, and machine code if the target has any."""
    backend = backend_of(target)
    if backend.emitters is not None:
        require(f"compiling for target {target}", COMPILING)
    step("passes")
    optimized, records = _run_passes(program, passes)
    if backend.emitters is None:
        prepare, kernels = split_prepare(optimized)
        return Compiled(target, optimized, prepare, kernels, {}, None, backend.engines(kernels, target, {}, None), records)
    failed: dict[str, str] = {}  # what kernels compute that could not be built -> why
    while True:
        step("select kernels")
        lowering = backend.lowering(target)
        if failed:
            lowering = [replace(p, failed=frozenset(failed)) if isinstance(p, SelectKernels) else p for p in lowering]
        selected, more = _run_passes(optimized, lowering)
        prepare, kernels = split_prepare(selected)
        plans = plan_program(kernels)
        try:
            lowered = lower(kernels, plans, target, step)
            step("machine code")
            image = backend.image(lowered)
            library = Library(lowered.executable) if image is None else Library(image=image)
        except ForkedError:
            raise
        except Exception as error:  # TVM's own errors have many classes
            if out_of_memory("", error) is not None:
                raise
            found = find_failed(kernels, plans, target, error, step)
            if found.keys() <= failed.keys():
                names = ", ".join(program)
                raise CompileError(f"graph {names} for target {target}: TVM failed with {first_line(error)}") from error
            failed |= found
        else:
            engines = backend.engines(kernels, target, plans, library)
            return Compiled(target, optimized, prepare, kernels, plans, library, engines,
                            {name: [*records[name], *more[name]] for name in program}, replace(lowered, failed=failed))


def _run_passes(program: Program, passes: Sequence[Pass]) -> tuple[Program, dict[str, list[PassRecord]]]:
    """The program after passes, and what they did to each graph."""
    records: dict[str, list[PassRecord]] = {}

    def run(graph: Graph) -> Graph:
        result, records[graph.name] = run_pipeline(graph, passes)
        return result

    return rewrite_each(program, run), records


def _check_sizes(graph: Graph) -> None:
    """Raises CompileError if a call could not know all sizes."""
    unknown = undetermined(graph)
    if unknown is not None:
        raise CompileError(f"graph {graph.name} cannot be compiled: {unknown}")


def _check_data(program: Program) -> None:
    """Every parameter needs data: the prepare part runs on it. Raises CompileError listing those that have none."""
    missing = [name for graph in program.graphs.values() for name in graph.parameters if name not in program.weights]
    if missing:
        missing = list(dict.fromkeys(missing))
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise CompileError(f"graph {', '.join(program)} cannot be compiled: no data for parameter {shown}; read it with its "
                           ".safetensors beside it, or set graph.weights")
