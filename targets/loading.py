"""`tg.load`: a bundle to an executable."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from targets.base.registry import backend_of
from targets.base.target import Target
from targets.compiler import compile
from targets.runtime.archive import Archive
from targets.runtime.bundle import FIELDS, LEVELS, read_compiled, read_prepared, read_programs, read_tensors
from targets.runtime.executable import Executable
from targets.runtime.loaded_weights import LoadedWeights
from targets.runtime.program_executable import ProgramExecutable
from tgraph.ir.errors import FormatError
from tgraph.ir.program import Program


def load(path: str | os.PathLike[str]) -> Executable | ProgramExecutable:
    """Read an executable that `save` wrote; what the file says of itself is checked before its code is mapped.

    Of a graph an Executable, of a program a ProgramExecutable. Raises FormatError if the file is none or damaged, TargetError if
    it is for another machine, and OSError.
    """
    archive = Archive(Path(path), FIELDS)
    target = Target.parse(archive.manifest["target"])
    backend = backend_of(target)
    if backend.emitters is None:
        raise FormatError(f"{path}: the manifest names target {target}, which has no library")
    backend.require_host(replace(target, features=frozenset(archive.manifest["features"])), str(path))
    archive.verify()
    programs = read_programs(archive, LEVELS)
    traced = programs["traced"]
    _restore(archive, traced)
    kind = archive.manifest["kind"]
    if kind != "program" and (kind != "graph" or len(traced) != 1):
        raise FormatError(f"{path}: the manifest says {kind!r} of what holds the graphs {', '.join(traced)}")
    prepared = read_prepared(archive, programs["kernels"])
    compiled = read_compiled(archive, target, programs)
    loaded = LoadedWeights(traced, compiled, prepared)
    if kind == "program":
        return ProgramExecutable(traced, compiled, loaded, compile)
    return Executable(traced, next(iter(traced)), compiled, loaded, compile)


def _restore(archive: Archive, traced: Program) -> None:
    """What a graph's text does not say: other names of parameters, and their data if the bundle has it."""
    if traced.fingerprint != archive.manifest["fingerprint"]:
        raise FormatError(f"{archive.path}: entry traced.tg is not what the manifest names")
    for alias, name in archive.manifest["aliases"].items():
        if name not in traced.parameters:
            raise FormatError(f"{archive.path}: the manifest names {alias} as another name of {name}, which is no parameter")
    traced.weights.aliases.update(archive.manifest["aliases"])
    if "weights.safetensors" in archive:
        for name, array in read_tensors(archive, "weights.safetensors").items():
            traced.weights.set(name, array)
