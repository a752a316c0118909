"""Bundles, `.tgc`: a compiled graph or program in one file (`archive.py` says how it is laid out).

Entries: library.so, prepared.bin, the graphs at four levels as text, constants.safetensors if the graphs have large ones,
weights.safetensors with the original weights if asked for, and the manifest: versions, target, how the library is called.
An entry of the compile cache is a bundle without any weights, and without the traced graph, which the caller has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tgraph
from targets.base.memory import offsets
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.lowering.stages import Plan, plan_program
from targets.runtime.archive import Archive, Content, write_archive
from targets.runtime.compiled import Compiled
from targets.runtime.library import Library
from targets.runtime.manifest import Fields
from tgraph.formats.safetensors import tensor_parts, view_tensors
from tgraph.ir.errors import CompileError, FormatError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse_program
from tgraph.ir.program import Program, as_program

if TYPE_CHECKING:
    from targets.runtime.loaded_weights import LoadedWeights

COMPILED = ("optimized", "prepare", "kernels")  # what the cache keeps
LEVELS = ("traced", *COMPILED)
SIGNATURES = [{"name": str, "calls": [str], "weights": [str], "outputs": [str], "symbols": [str], "extents": [str],
               "places": [int]}]
FIELDS: Fields = {"tgraph": str, "kind": str, "target": str, "features": [str], "fingerprint": str, "signatures": SIGNATURES,
                  "aliases": {str: str}}


def save(program: Program, compiled: Compiled, weights: LoadedWeights, path: Path, originals: bool, kind: str) -> None:
    """Write a bundle; `kind`: whether "graph" or "program" was compiled.

    Raises CompileError without a C compiler, TargetError for a target without a library, and DiskError.
    """
    target = compiled.target
    if compiled.library is None:
        raise TargetError(f"target {target} has no library to save; save the graph itself with graph.save")
    entries = {**code_entries(compiled), "traced.tg": _text(program), **_constants([program, *_programs(compiled)])}
    if originals:
        entries["weights.safetensors"] = _safetensors({name: weights.data[name] for name in program.parameters})
    entries["prepared.bin"] = [weights.prepared[name] for name in compiled.kernels.parameters]
    write_archive(path, entries, {
        "tgraph": tgraph.__version__, "kind": kind, "target": str(target), "features": sorted(target.features),
        "fingerprint": program.fingerprint, "signatures": signatures(compiled.plans), "aliases": program.weights.aliases,
    })


# Code: what bundles and the cache have in common

def code_entries(compiled: Compiled) -> dict[str, Content]:
    """The library and graphs as entries of an archive. Raises CompileError if the library cannot be linked."""
    assert compiled.library is not None
    entries: dict[str, Content] = {"library.so": [compiled.library.link()]}
    programs = _programs(compiled)
    entries.update({f"{level}.tg": _text(program) for level, program in zip(COMPILED, programs)})
    return {**entries, **_constants(programs)}


def _programs(compiled: Compiled) -> list[Program]:
    return [compiled.optimized, as_program(compiled.prepare, CompileError), compiled.kernels]


def _text(program: Program) -> bytes:
    return (program.text(scopes=True, locations=True) + "\n").encode()


def _constants(programs: Iterable[Program]) -> dict[str, Content]:
    """The entry of the constants of which the text has the digest only, if there are any."""
    found = {f"sha256:{c.digest}": c.data for block in _blocks(programs) for c in block.constants.values()
             if c.data is not None and c.type.rank}
    return {"constants.safetensors": _safetensors(found)} if found else {}


def signatures(plans: Mapping[str, Plan]) -> list[dict[str, Any]]:
    """The signatures of a library's functions: a reader compares them with those that follow from the graphs."""
    return [{"name": stage.name, "calls": [n.attrs["function"].name for n in stage.calls],
             "weights": [w.name for w in stage.weights], "outputs": stage.outputs, "symbols": stage.symbols,
             "extents": [str(e) for e in stage.extents], "places": stage.places}
            for plan in plans.values() for stage in plan.stages]


def read_compiled(archive: Archive, target: Target, programs: Mapping[str, Program]) -> Compiled:
    """The compiled program in an archive.

    Raises FormatError if entries do not fit together, or this tgraph calls the library in another way than that which wrote it.
    """
    names = {level: list(program) for level, program in programs.items() if level != "prepare"}
    kernels, prepare = programs["kernels"], list(programs["prepare"].graphs.values())
    if any(found != list(kernels) for found in names.values()) or len(prepare) != 1:
        raise FormatError(f"{archive.path}: its entries hold different graphs: {names}")
    plans = plan_program(kernels)
    if signatures(plans) != archive.manifest["signatures"]:
        raise FormatError(f"{archive.path} was written by tgraph {archive.manifest['tgraph']}, whose library is called in "
                          f"another way than that of tgraph {tgraph.__version__}; compile it again")
    library = Library(image=archive["library.so"])
    backend = backend_of(target)
    if backend.loads_libraries:
        library.load()
    engines = backend.engines(kernels, target, plans, library)
    return Compiled(target, programs["optimized"], prepare[0], kernels, plans, library, engines, {})


def read_programs(archive: Archive, levels: Iterable[str]) -> dict[str, Program]:
    """Programs by level, with the data of their constants."""
    programs = {level: parse_program(archive.text(f"{level}.tg"), file=f"{archive.path}:{level}.tg") for level in levels}
    tensors = read_tensors(archive, "constants.safetensors") if "constants.safetensors" in archive else {}
    missing = []
    for block in _blocks(programs.values()):
        for constant in block.constants.values():
            if constant.data is None:
                constant.data = tensors.get(f"sha256:{constant.digest}")
                missing += [] if constant.data is not None else [constant.digest]
    if missing:
        raise FormatError(f"{archive.path}: entry constants.safetensors lacks the constant sha256:{missing[0]}")
    return programs


def _blocks(programs: Iterable[Program]) -> list[Graph]:
    return [block for program in programs for block in (*program.functions.values(), *program.graphs.values())]


# Tensors

def read_prepared(archive: Archive, kernels: Program) -> dict[str, np.ndarray]:
    """The tensors that kernels read, mapped; they lie in the order of the parameters, with those types."""
    raw = archive["prepared.bin"]
    like = {name: np.broadcast_to(np.empty((), type.dtype.numpy), type.evaluate({}))
            for name, type in kernels.parameters.items()}
    starts, end = offsets(like.values())
    if end != raw.size:
        raise FormatError(f"{archive.path}: entry prepared.bin has {raw.size} bytes, the weights of the kernels {end}")
    return {name: raw[start:start + array.nbytes].view(array.dtype).reshape(array.shape)
            for start, (name, array) in zip(starts, like.items())}


def _safetensors(tensors: Mapping[str, np.ndarray]) -> Content:
    """Tensors as the bytes of a .safetensors file."""
    return b"".join(part.data for part in tensor_parts("the bundle", tensors))


def read_tensors(archive: Archive, entry: str) -> Mapping[str, np.ndarray]:
    """The tensors of a safetensors entry, as copies."""
    tensors = view_tensors(archive[entry], Path(f"{archive.path}: {entry}"))
    return {name: np.array(tensors[name]) for name in tensors}
