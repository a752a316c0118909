"""After a failed build: the kernels that fail, so that they can be split up; or the error that names the user's line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from targets.base.registry import backend_of
from targets.base.target import Target
from targets.base.tvm_api import IRModule
from targets.lowering.lower import OnDevice, emit_kernel, on_device_by_call, variants_of
from targets.lowering.select_kernels import content
from targets.lowering.stages import Plan
from tgraph.ir.errors import CompileError, TGraphError, first_line
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program


def find_failed(program: Program, plans: Mapping[str, Plan], target: Target, error: Exception,
                 progress: Callable[[str], None]) -> dict[str, str]:
    """The content of the kernels of a program that cannot be built, each tried alone, and why.

    Where `error` is tgraph's own, kernels are emitted and not built: either an emitter is to blame, or something that no kernel
    can help, such as a compiler that is not installed, and `error` is raised again. Raises CompileError that names the node and
    its line if a kernel that cannot be built has a single node.
    """
    build = not isinstance(error, TGraphError)
    failed: dict[str, str] = {}
    variants = variants_of(program, on_device_by_call(program, plans))
    for name, function in program.functions.items():
        progress(f"kernel {name} alone")
        tries = (_try(function, target, on_device, build) for on_device in variants[name])
        why = next(filter(None, tries), None)
        if why is None:
            continue
        if len(function.nodes) == 1:
            raise _blame(program, function, target, why)
        failed[content(function)] = why
    if not failed and not build:
        raise error
    return failed


def _try(function: Graph, target: Target, on_device: OnDevice, build: bool) -> str | None:
    """Why a kernel cannot be emitted, or built; None if it can."""
    try:
        kernel = emit_kernel(function, target, on_device)
        if build:
            backend_of(target).build(IRModule({str(kernel.attrs["global_symbol"]): kernel}), target)
    except Exception as error:  # TVM's own errors have many classes
        return first_line(error)
    return None


def _blame(program: Program, function: Graph, target: Target, why: str) -> CompileError:
    call = next(n for graph in program.graphs.values() for n in graph.nodes if n.attrs.get("function") is function)
    node, where = function.nodes[0], call.provenance.describe()
    applied = f"{node.op.name}({', '.join(str(value.type) for value in node.inputs)})"
    return CompileError(f"{applied} cannot be compiled for target {target}: {why}" + (f"\n  {where}" if where else ""))
