"""`tg.load`: a bundle to an executable."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from targets.base.registry import backend_of
from targets.base.target import Target
from targets.compiler import compile
from targets.runtime.archive import Archive
from targets.runtime.bundle import FIELDS, GRAPHS, read_engine, read_graphs, read_prepared, read_tensors
from targets.runtime.executable import Executable
from tgraph.ir.errors import FormatError
from tgraph.ir.graph import Graph


def load(path: str | os.PathLike[str]) -> Executable:
    """Read an executable that `save` wrote; what the file says of itself is checked before its code is mapped.

    Raises FormatError if it is none or damaged, TargetError if it is for another machine, and OSError.
    """
    archive = Archive(Path(path), FIELDS)
    target = Target.parse(archive.manifest["target"])
    backend = backend_of(target)
    if backend.emitters is None:
        raise FormatError(f"{path}: the manifest names target {target}, which has no library")
    backend.require_host(replace(target, features=frozenset(archive.manifest["features"])), str(path))
    archive.verify()
    graphs = read_graphs(archive, GRAPHS)
    _restore(archive, graphs["traced"])
    prepared = read_prepared(archive, graphs["kernels"])
    engine = read_engine(archive, graphs["kernels"], target)
    engine.load_prepared(prepared)
    return Executable(graphs["traced"], graphs["optimized"], graphs["prepare"], graphs["kernels"], target, engine, compile)


def _restore(archive: Archive, traced: Graph) -> None:
    """What a graph's text does not say: other names of parameters, and their data if the bundle has it."""
    if traced.fingerprint != archive.manifest["fingerprint"]:
        raise FormatError(f"{archive.path}: entry traced.tg is not the graph that the manifest names")
    for alias, name in archive.manifest["aliases"].items():
        if name not in traced.parameters:
            raise FormatError(f"{archive.path}: the manifest names {alias} as another name of {name}, which is no parameter")
    traced.weights.aliases.update(archive.manifest["aliases"])
    if "weights.safetensors" in archive:
        for name, array in read_tensors(archive, "weights.safetensors").items():
            traced.weights.set(name, array)
