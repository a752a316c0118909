"""`tg.compile`: a graph and a target to an executable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from passes.base import Pass
from passes.manager import run_pipeline
from passes.pipelines import parse_pipeline
from passes.precision import precision_passes
from targets.engine import CpuEngine, Engine, NumpyEngine
from targets.executable import Executable
from targets.prepare import evaluate_prepare
from targets.stages import plan_stages, split_prepare
from targets.target import Target
from tgraph.ir.errors import CompileError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.ir.verify import verify

Progress = Callable[[str], None]


def compile(graph: Graph | Program, target: str | Target = "cpu", *, level: str = "O3",
            passes: str | Sequence[Pass] | None = None, precision: str = "f32", weights: str = "f32",
            progress: Progress | None = None) -> Executable:
    """Compile a graph for a target.

    target: "cpu" (this machine), "cpu:skylake-avx512", "numpy". level: the pipeline of passes, O0 to O3; `passes` replaces it.
    progress: called with the name of each step. The graph itself does not change.

    Raises TargetError for an unknown target, PassError for an unknown pass, CompileError for a graph that cannot be compiled.
    """
    step = progress or (lambda _: None)
    where = Target.parse(target)
    if isinstance(graph, Program):
        graph = graph.main
    if not isinstance(graph, Graph):
        raise CompileError(f"expected a Graph (tg.trace makes one), got {type(graph).__name__}")
    verify(graph)
    _check_data(graph)
    step("passes")
    chosen = level if passes is None else passes
    pipeline = [*(parse_pipeline(chosen) if isinstance(chosen, str) else chosen), *precision_passes(precision, weights)]
    optimized, records = run_pipeline(graph, pipeline)
    if where.kind == "numpy":
        prepare, kernels = split_prepare(optimized)
        engine: Engine = NumpyEngine(kernels)
        lowered = None
    else:
        from targets import lower
        from targets.select_kernels import select_kernels

        step("select kernels")
        prepare, kernels = split_prepare(select_kernels(optimized, where))
        try:
            stages, plan = plan_stages(kernels)
            lowered = lower.lower(kernels, stages, plan, where, step)
            step("machine code")
            library = lower.compile_module(lowered.module, where)
        except TGraphError:
            raise
        except Exception as error:  # TVM's own errors have many classes
            raise CompileError(f"graph {graph.name} for target {where}: TVM failed with {_first_line(error)}") from error
        engine = CpuEngine(kernels, library)
    step("prepare weights")
    engine.load_prepared(evaluate_prepare(prepare, graph.weights))
    return Executable(graph, optimized, prepare, kernels, where, engine, records, lowered)


def _check_data(graph: Graph) -> None:
    """Every parameter needs data: the prepare part runs on it. Raises CompileError listing those that have none."""
    missing = [name for name in graph.parameters if name not in graph.weights]
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise CompileError(f"graph {graph.name} cannot be compiled: no data for parameter {shown}; read it with its "
                           ".safetensors beside it, or set graph.weights")


def _first_line(error: Exception) -> str:
    text: Any = str(error).strip().split("\n")
    return f"{type(error).__name__}: {text[-1] if text else ''}"


