"""Bundles, `.tgc`: an executable in one file (`archive.py` says how it is laid out).

Entries: library.so, prepared.bin, the four graphs as text, constants.safetensors if the graphs have large ones,
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
from targets.lowering.stages import Stage
from targets.runtime.archive import Archive, Content, write_archive
from targets.runtime.engine import Engine, LibraryEngine
from targets.runtime.library import Library
from targets.runtime.manifest import Fields
from tgraph.formats.safetensors import tensor_parts, view_tensors
from tgraph.ir.errors import FormatError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse_program

if TYPE_CHECKING:
    from targets.runtime.executable import Executable

COMPILED = ("optimized", "prepare", "kernels")  # what the cache keeps
GRAPHS = ("traced", *COMPILED)
SIGNATURES = [{"name": str, "calls": [str], "weights": [str], "outputs": [str], "symbols": [str], "extents": [str],
               "places": [int]}]
FIELDS: Fields = {"tgraph": str, "target": str, "features": [str], "fingerprint": str, "signatures": SIGNATURES,
                  "aliases": {str: str}}


def save(executable: Executable, engine: Engine, path: Path, originals: bool) -> None:
    """Write a bundle. Raises CompileError without a C compiler, TargetError for a target without a library, and DiskError."""
    if not isinstance(engine, LibraryEngine):
        raise TargetError(f"target {executable.target} has no library to save; save the graph itself with graph.save")
    graphs = dict(zip(GRAPHS, (executable.graph, executable.optimized, executable.prepare, executable.kernels)))
    entries = code_entries(engine, graphs)
    if originals:
        weights = executable.weights
        entries["weights.safetensors"] = _safetensors({n: weights[n] for n in executable.graph.parameters})
    entries["prepared.bin"] = [engine.prepared[name] for name in executable.kernels.parameters]
    write_archive(path, entries, {
        "tgraph": tgraph.__version__, "target": str(executable.target), "features": sorted(executable.target.features),
        "fingerprint": executable.graph.fingerprint, "signatures": signatures(engine.stages),
        "aliases": executable.graph.weights.aliases,
    })


# Code: what bundles and the cache have in common

def code_entries(engine: LibraryEngine, graphs: Mapping[str, Graph]) -> dict[str, Content]:
    """The library and graphs as entries of an archive. Raises CompileError if the library cannot be linked."""
    image = engine.library.linked().image
    assert image is not None
    entries: dict[str, Content] = {"library.so": [image]}
    for name, graph in graphs.items():
        entries[f"{name}.tg"] = (graph.text(scopes=True, locations=True) + "\n").encode()
    constants = {f"sha256:{c.digest}": c.data for b in _blocks(graphs.values()) for c in b.constants.values()
                 if c.data is not None and c.type.rank}
    if constants:
        entries["constants.safetensors"] = _safetensors(constants)
    return entries


def signatures(stages: Iterable[Stage]) -> list[dict[str, Any]]:
    """What tells whether a library's functions are called as the graph says."""
    return [{"name": stage.name, "calls": [n.attrs["function"].name for n in stage.calls],
             "weights": [w.name for w in stage.weights], "outputs": stage.outputs, "symbols": stage.symbols,
             "extents": [str(e) for e in stage.extents], "places": stage.places} for stage in stages]


def read_graphs(archive: Archive, names: Iterable[str]) -> dict[str, Graph]:
    """Graphs by name, with the data of their constants."""
    graphs = {}
    for name in names:
        program = parse_program(archive.text(f"{name}.tg"), file=f"{archive.path}:{name}.tg")
        graphs[name] = next(iter(program.graphs.values()))
    tensors = read_tensors(archive, "constants.safetensors") if "constants.safetensors" in archive else {}
    missing = []
    for block in _blocks(graphs.values()):
        for constant in block.constants.values():
            if constant.data is None:
                constant.data = tensors.get(f"sha256:{constant.digest}")
                missing += [] if constant.data is not None else [constant.digest]
    if missing:
        raise FormatError(f"{archive.path}: entry constants.safetensors lacks the constant sha256:{missing[0]}")
    return graphs


def read_engine(archive: Archive, kernels: Graph, target: Target) -> LibraryEngine:
    """The library with what calls it. Raises FormatError if this tgraph calls it in another way than the one that wrote it."""
    library = Library(image=archive["library.so"])
    backend = backend_of(target)
    engine = backend.engine(kernels, target, library)
    assert isinstance(engine, LibraryEngine)
    if signatures(engine.stages) != archive.manifest["signatures"]:
        raise FormatError(f"{archive.path} was written by tgraph {archive.manifest['tgraph']}, whose library is called in "
                          f"another way than that of tgraph {tgraph.__version__}; compile it again")
    if backend.loads_libraries:
        library.load()
    return engine


def _blocks(graphs: Iterable[Graph]) -> list[Graph]:
    return [block for graph in graphs for block in (*graph.functions.values(), graph)]


# Tensors

def read_prepared(archive: Archive, kernels: Graph) -> dict[str, np.ndarray]:
    """The tensors that kernels read, mapped; they lie in the order of the parameters, with those types."""
    raw = archive["prepared.bin"]
    like = {name: np.broadcast_to(np.empty((), p.type.dtype.numpy), p.type.evaluate({}))
            for name, p in kernels.parameters.items()}
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
