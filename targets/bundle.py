"""Bundles, `.tgc`: an executable in one file (`archive.py` says how it is laid out).

Entries: library.so, prepared.bin, the four graphs as text, constants.safetensors if the graphs have large ones,
weights.safetensors with the original weights if asked for, and the manifest: versions, target, how the library is called.
An entry of the compile cache is a bundle without any weights, and without the traced graph, which the caller has.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tgraph
from targets.archive import Archive, Content, write_archive
from targets.engine import Engine, LibraryEngine, library_engine
from targets.executable import Executable
from targets.library import Library
from targets.memory import offsets
from targets.stages import Stage
from targets.target import Target, require_host
from tgraph.formats.safetensors import open_tensors, save_safetensors
from tgraph.ir.dtypes import DTYPES
from tgraph.ir.errors import FormatError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse_program

COMPILED = ("optimized", "prepare", "kernels")  # what the cache keeps
GRAPHS = ("traced", *COMPILED)


def save(executable: Executable, engine: Engine, path: Path, originals: bool) -> None:
    """Write a bundle. Raises CompileError without a C compiler, TargetError for a target without a library."""
    if not isinstance(engine, LibraryEngine):
        raise TargetError(f"target {executable.target} has no library to save; save the graph itself with graph.save")
    graphs = dict(zip(GRAPHS, (executable.graph, executable.optimized, executable.prepare, executable.kernels)))
    entries = code_entries(engine, graphs)
    if originals:
        weights = executable.weights
        entries["weights.safetensors"] = _safetensors({n: weights[n] for n in executable.graph.parameters})
    arrays = list(engine.prepared.values())
    entries["prepared.bin"] = arrays
    index = [[name, next(d.name for d in DTYPES.values() if d.numpy == array.dtype), list(array.shape), start]
             for (name, array), start in zip(engine.prepared.items(), offsets(arrays)[0])]
    write_archive(path, entries, {
        "tgraph": tgraph.__version__, "target": str(executable.target), "features": sorted(executable.target.features),
        "fingerprint": executable.graph.fingerprint, "signatures": signatures(engine), "prepared": index,
        "aliases": executable.graph.weights.aliases,
    })


def load(path: str | os.PathLike[str]) -> Executable:
    """Read a bundle. Raises FormatError if it is none or damaged, TargetError if it is for another machine, and OSError."""
    archive = Archive(Path(path))
    target = Target.parse(archive.manifest["target"])
    if target.kind == "cpu":
        require_host(replace(target, features=frozenset(archive.manifest["features"])), str(path))
    archive.verify()
    graphs = read_graphs(archive, GRAPHS)
    graphs["traced"].weights.aliases.update(archive.manifest["aliases"])
    engine = read_engine(archive, graphs["kernels"], target)
    engine.load_prepared(_read_prepared(archive["prepared.bin"], archive.manifest["prepared"]))
    if "weights.safetensors" in archive:
        for name, array in _tensors(archive["weights.safetensors"]).items():
            graphs["traced"].weights.set(name, array)
    return Executable(graphs["traced"], graphs["optimized"], graphs["prepare"], graphs["kernels"], target, engine)


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


def signatures(engine: LibraryEngine) -> list[list[Any]]:
    """What tells whether a library's functions are called as the graph says."""
    def of(stage: Stage) -> list[Any]:
        return [stage.name, [n.attrs["function"].name for n in stage.calls], [w.name for w in stage.weights], stage.outputs,
                stage.symbols, [str(e) for e in stage.extents], stage.places]
    return [of(stage) for stage in engine.stages]


def read_graphs(archive: Archive, names: Iterable[str]) -> dict[str, Graph]:
    """Graphs by name, with the data of their constants."""
    graphs = {}
    for name in names:
        program = parse_program(archive.text(f"{name}.tg"), file=f"{archive.path}:{name}.tg")
        graphs[name] = next(iter(program.graphs.values()))
    if "constants.safetensors" in archive:
        tensors = _tensors(archive["constants.safetensors"])
        for block in _blocks(graphs.values()):
            for constant in block.constants.values():
                if constant.data is None:
                    constant.data = tensors[f"sha256:{constant.digest}"]
    return graphs


def read_engine(archive: Archive, kernels: Graph, target: Target) -> LibraryEngine:
    """The library with what calls it. Raises FormatError if this tgraph calls it in another way than the one that wrote it."""
    library = Library(image=archive["library.so"])
    if target.kind == "cpu":  # that of a GPU may not be loaded on this machine
        library.load()
    engine = library_engine(target, kernels, library)
    if signatures(engine) != archive.manifest["signatures"]:
        raise FormatError(f"{archive.path} was written by tgraph {archive.manifest['tgraph']}, whose library is called in "
                          f"another way than that of tgraph {tgraph.__version__}; compile it again")
    return engine


def _blocks(graphs: Iterable[Graph]) -> list[Graph]:
    return [block for graph in graphs for block in (*graph.functions.values(), graph)]


# Tensors

def _read_prepared(raw: np.ndarray, index: list[list[Any]]) -> dict[str, np.ndarray]:
    result = {}
    for name, dtype_name, shape, offset in index:
        dtype = DTYPES[dtype_name].numpy
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        result[name] = raw[offset:offset + size].view(dtype).reshape(shape)
    return result


def _safetensors(tensors: Mapping[str, np.ndarray]) -> Content:
    """Tensors as the bytes of a .safetensors file."""
    with tempfile.TemporaryDirectory() as folder:
        save_safetensors(Path(folder) / "tensors.safetensors", tensors)
        return [np.fromfile(Path(folder) / "tensors.safetensors", np.uint8)]


def _tensors(raw: np.ndarray) -> Mapping[str, np.ndarray]:
    """The tensors of a safetensors entry, as copies."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tensors.safetensors"
        file.write_bytes(raw.data)
        tensors = open_tensors(file)
        return {name: np.array(tensors[name]) for name in tensors}
