"""`tg.load`: a bundle to an executable."""

from __future__ import annotations

import os
from pathlib import Path

from targets.base.ending import before_the_end
from targets.base.registry import backend_of
from targets.base.room import enough_memory
from targets.base.target import Target
from targets.compiler import compile
from targets.runtime.archive import Archive
from targets.runtime.attached import read_files
from targets.runtime.bundle import (
    FIELDS,
    LEVELS,
    read_compiled,
    read_prepared,
    read_programs,
    read_tensors,
    rebuild_compiled,
    require_runtime,
)
from targets.runtime.executable import Executable
from targets.runtime.loaded_weights import LoadedWeights
from targets.runtime.program_executable import ProgramExecutable
from targets.runtime.variants import choose, listed
from tgraph.ir.errors import FormatError
from tgraph.ir.program import Program


def load(path: str | os.PathLike[str], *, target: str | None = None, rebuild: bool = False) -> Executable | ProgramExecutable:
    """Read an executable that `save` wrote; what the file says of itself is checked before its code is mapped.

    Of a graph an Executable, of a program a ProgramExecutable. A bundle holds machine code: to load one is to run a program.
    Of several variants it takes, of those that this machine can run, the first whose instruction sets no other one goes beyond;
    `target` of the executable says which, `variants` which there are.

    target: take the variant for that target ("cpu:x86-64-v3"), or choose among those of a kind ("cpu").
    rebuild: for a bundle that you do not trust, or one of another version of tgraph or TVM. Its library is left alone; the
    kernels are compiled again from their graph, which is data.

    Raises FormatError if the file is none or damaged, WeightsError if its original weights do not fit its graph, TargetError if
    it is for other machines, OutOfMemoryError, and OSError.
    """
    with before_the_end(), enough_memory(f"loading {path}"):
        return _load(path, target, rebuild)


def _load(path: str | os.PathLike[str], target: str | None, rebuild: bool) -> Executable | ProgramExecutable:
    bundle = Archive(Path(path), FIELDS)
    if not rebuild:
        require_runtime(bundle)
    archive, chosen = choose(bundle, target)
    backend = backend_of(chosen)
    if backend.emitters is None:
        raise FormatError(f"{path}: the manifest names target {chosen}, which has no library")
    backend.require_host(chosen, str(path))
    files = read_files(bundle)
    bundle.verify()
    programs = read_programs(archive, LEVELS)
    traced = programs["traced"]
    _restore(archive, traced)
    kind = archive.manifest["kind"]
    if kind != "program" and (kind != "graph" or len(traced) != 1):
        raise FormatError(f"{path}: the manifest says {kind!r} of what holds the graphs {', '.join(traced)}")
    prepared = read_prepared(archive, programs["kernels"])
    compiled = (rebuild_compiled if rebuild else read_compiled)(archive, Target.parse(str(chosen)), programs)
    compiled.variants, compiled.files = listed(bundle), files
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
        traced.load_weights(read_tensors(archive, "weights.safetensors"))
