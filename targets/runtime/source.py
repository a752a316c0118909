"""A compiled program as text, at each of its levels."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from targets.base.backend import Backend
from targets.base.listing import excerpt
from targets.base.registry import backend_of
from targets.lowering.lower import kernel_symbol, on_device_by_call
from targets.lowering.stages import Stage
from targets.runtime.compiled import Compiled
from tgraph.ir.errors import GraphError, TargetError
from tgraph.ir.program import Program, only_graph
from tgraph.ir.selection import in_scope, named, no_scope
from tgraph.ir.values import Node

LEVELS_OF_SOURCE = ("traced", "optimized", "kernels", "prepare", "relax", "tir", "llvm", "asm")


def source(traced: Program, compiled: Compiled, what: str, scope: str | None = None, node: str | int | None = None) -> str:
    """The text of the graphs that are in `traced`, at a level; machine code is that of the whole library.

    scope, node: only the part that stands for a scope of the model, or for one node (`Graph.part`); below the graphs, the
    kernels that this part of the graph of kernels calls. Raises TargetError for a level that there is not, GraphError for a part.
    """
    graphs = graphs_at(traced, compiled, what)
    if graphs is not None:
        return _part(graphs, scope, node).text(scopes=True) + "\n"
    backend = backend_of(compiled.target)
    levels = (*LEVELS_OF_SOURCE, *backend.levels)
    if what not in levels:
        raise TargetError(f"no source {what!r}; there is {', '.join(levels)}")
    if compiled.library is None:
        raise TargetError(f"target {compiled.target} has no source {what!r}")
    kernels = compiled.kernels.only(traced)
    if scope is None and node is None:
        return _source(kernels, compiled, what, None)
    calls = [n for n in _nodes(kernels, scope, node) if "function" in n.attrs]
    if not calls:
        part = f"scope {scope}" if node is None else f"node {node}"
        raise TargetError(f"the host runs {part}, and no kernel: it has no {what}")
    return _source(kernels, compiled, what, calls)


def graphs_at(traced: Program, compiled: Compiled, level: str) -> Program | None:
    """The graphs in `traced` at one of the levels that are graphs; None for other levels."""
    if level == "prepare":
        return Program(compiled.prepare.weights, {compiled.prepare.name: compiled.prepare})
    programs = {"traced": traced, "optimized": compiled.optimized, "kernels": compiled.kernels}
    return programs[level].only(traced) if level in programs else None


def _part(program: Program, scope: str | None, node: str | int | None) -> Program:
    if scope is None and node is None:
        return program
    if node is not None:
        graph = only_graph(program, GraphError, "exe[{name}]")
        return Program(graph.weights, {graph.name: graph.part(scope, node=node)})
    return program.part(scope or "")


def _nodes(program: Program, scope: str | None, node: str | int | None) -> list[Node]:
    """The nodes of the graphs that are in a part."""
    if node is not None:
        return [named(only_graph(program, GraphError, "exe[{name}]"), str(node))]
    found: list[Node] = []
    for graph in program.graphs.values():
        with suppress(GraphError):
            found += in_scope(graph, str(scope))
    if not found:
        raise GraphError(no_scope(program.graphs.values(), scope or ""))
    return found


def _source(kernels: Program, compiled: Compiled, what: str, calls: Collection[Node] | None) -> str:
    """The text of one of the levels of compiled code; `calls` are those of a part, None for all."""
    backend = backend_of(compiled.target)
    if what in backend.levels and compiled.lowered is None and compiled.cache is None:
        of_library = backend.library_source(compiled.library, what) if compiled.library is not None else None
        if of_library is not None:
            return of_library if calls is None else _excerpt(backend, of_library, what, _symbols(kernels, compiled, calls))
    lowered = compiled.low(f"source {what!r}")
    if what == "relax":
        stages = [stage for name in kernels for stage in compiled.plans[name].stages]
        if calls is None:
            return "\n\n".join(str(lowered.module[stage.name]) for stage in stages)
        return "\n\n".join(_calls_of(lowered.module[stage.name], stage, calls) for stage in stages
                           if not set(calls).isdisjoint(stage.calls))
    symbols = _symbols(kernels, compiled, [n for name in kernels for stage in compiled.plans[name].stages for n in stage.calls]
                       if calls is None else calls)
    if what == "tir":
        return "\n\n".join(str(kernel) for symbol, kernel in lowered.kernels.items() if symbol in symbols)
    text = (backend.source(lowered, what) if what in backend.levels
            else _inspect(lowered.executable, {"llvm": "ll", "asm": "asm"}[what]))
    return text if calls is None else _excerpt(backend, text, what, symbols)


def _excerpt(backend: Backend, text: str, what: str, symbols: set[str]) -> str:
    found = excerpt(backend.functions(text, what), symbols)
    if not found:
        raise TargetError(f"the listing of level {what!r} names none of the kernels {', '.join(sorted(symbols))}")
    return found


def _symbols(kernels: Program, compiled: Compiled, calls: Collection[Node]) -> set[str]:
    """The symbols of the kernels that some nodes call."""
    by_call = on_device_by_call(kernels, {name: compiled.plans[name] for name in kernels})
    return {kernel_symbol(node.attrs["function"].name, by_call[node]) for node in calls}


def _calls_of(function: Any, stage: Stage, calls: Collection[Node]) -> str:
    """The lines of a stage's function that call the kernels of some nodes: its calls are those of the stage, in order."""
    lines = [line for line in str(function).splitlines() if re.match(r'\s+R\.call_packed\("kernel_', line)]
    named = [f"# of {stage.name}: calls {', '.join(str(i) for i, n in enumerate(stage.calls) if n in calls)} of {len(lines)}"]
    return "\n".join(named + [line.strip() for line, node in zip(lines, stage.calls, strict=True) if node in calls])


def _without_addresses(text: str) -> str:
    """LLVM's text with numbers for the addresses of buffers, by which TVM tells apart what memory is whose."""
    numbers: dict[str, int] = {}
    return re.sub(r'(?<=!")0x[0-9a-f]+', lambda found: f"buffer{numbers.setdefault(found[0], len(numbers))}", text)


def _inspect(library: Any, format: str) -> str:
    """The text of the machine code module inside a virtual machine's executable."""
    pending = [library.mod]
    while pending:
        module = pending.pop()
        if module.kind == "llvm":
            return _without_addresses(str(module.inspect_source(format)))
        pending += list(module.imports)
    raise TargetError("the library holds no LLVM module to look into")
