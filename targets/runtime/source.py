"""A compiled program as text, at each of its levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from targets.base.registry import backend_of
from targets.lowering.lower import kernel_symbol, on_device_by_call, variants_of
from targets.lowering.stages import Plan
from targets.runtime.compiled import Compiled
from tgraph.ir.errors import TargetError
from tgraph.ir.program import Program

LEVELS_OF_SOURCE = ("traced", "optimized", "kernels", "prepare", "relax", "tir", "llvm", "asm")


def source(traced: Program, compiled: Compiled, what: str) -> str:
    """The text of the graphs that are in `traced`, at a level; machine code is that of the whole library.

    Raises TargetError for a level that there is not.
    """
    if what == "prepare":
        return compiled.prepare.text(scopes=True) + "\n"
    programs = {"traced": traced, "optimized": compiled.optimized, "kernels": compiled.kernels}
    if what in programs:
        return programs[what].only(traced).text(scopes=True) + "\n"
    backend = backend_of(compiled.target)
    levels = (*LEVELS_OF_SOURCE, *backend.levels)
    if what not in levels:
        raise TargetError(f"no source {what!r}; there is {', '.join(levels)}")
    if compiled.library is None:
        raise TargetError(f"target {compiled.target} has no source {what!r}")
    if what in backend.levels and compiled.lowered is None and compiled.cache is None:
        of_library = backend.library_source(compiled.library, what)
        if of_library is not None:
            return of_library
    lowered = compiled.low(f"source {what!r}")
    if what in backend.levels:
        return backend.source(lowered, what)
    if what == "relax":
        return "\n\n".join(str(lowered.module[stage.name]) for name in traced for stage in compiled.plans[name].stages)
    if what == "tir":
        called = _called(compiled.kernels.only(traced), compiled.plans)
        return "\n\n".join(str(kernel) for symbol, kernel in lowered.kernels.items() if symbol in called)
    return _inspect(lowered.executable, {"llvm": "ll", "asm": "asm"}[what])


def _called(kernels: Program, plans: Mapping[str, Plan]) -> set[str]:
    """The symbols of the kernels that these graphs call."""
    by_call = on_device_by_call(kernels, {name: plans[name] for name in kernels})
    return {kernel_symbol(name, on_device) for name, choices in variants_of(kernels, by_call).items() for on_device in choices}


def _inspect(library: Any, format: str) -> str:
    """The text of the machine code module inside a virtual machine's executable."""
    pending = [library.mod]
    while pending:
        module = pending.pop()
        if module.kind == "llvm":
            return str(module.inspect_source(format))
        pending += list(module.imports)
    raise TargetError("the library holds no LLVM module to look into")
