"""Bundles, `.tgc`: an executable in one file. An uncompressed zip whose entries start at multiples of 64 bytes, so that the
prepared weights are mapped and not read.

Entries: manifest.json (versions, target, the SHA-256 of every other entry), library.so, prepared.bin, the four graphs as text,
constants.safetensors if the traced graph has large ones, weights.safetensors with the original weights if asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

import tgraph
from targets.engine import CpuEngine, Engine
from targets.executable import Executable
from targets.library import export_library, load_library
from targets.stages import Stage
from targets.target import ALIGNMENT, Target
from tgraph.formats.registry import replacing
from tgraph.formats.safetensors import open_tensors, save_safetensors
from tgraph.ir.dtypes import DTYPES
from tgraph.ir.errors import FormatError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse_program

VERSION = 1
GRAPHS = ("traced", "optimized", "prepare", "kernels")
_PADDING = 0xD935  # id of the extra field that fills up to the alignment


def save(executable: Executable, engine: Engine, path: Path, originals: bool) -> None:
    """Write a bundle. Raises CompileError without a C compiler, TargetError for a target without a library."""
    if not isinstance(engine, CpuEngine):
        raise TargetError(f"target {executable.target} has no library to save; save the graph itself with graph.save")
    graphs = dict(zip(GRAPHS, (executable.graph, executable.optimized, executable.prepare, executable.kernels)))
    with tempfile.TemporaryDirectory() as folder:
        entries: dict[str, Path] = {"library.so": Path(folder) / "library.so"}
        export_library(engine.library, entries["library.so"])
        for name, graph in graphs.items():
            entries[f"{name}.tg"] = Path(folder) / f"{name}.tg"
            entries[f"{name}.tg"].write_text(graph.text(scopes=True, locations=True) + "\n", encoding="utf-8")
        constants = {f"sha256:{c.digest}": c.data for g in graphs.values() for b in (*g.functions.values(), g)
                     for c in b.constants.values() if c.data is not None and c.type.rank}
        if constants:
            entries["constants.safetensors"] = Path(folder) / "constants.safetensors"
            save_safetensors(entries["constants.safetensors"], constants)
        if originals:
            entries["weights.safetensors"] = Path(folder) / "weights.safetensors"
            weights = executable.weights
            save_safetensors(entries["weights.safetensors"], {n: weights[n] for n in executable.graph.parameters})
        entries["prepared.bin"] = Path(folder) / "prepared.bin"
        index = _write_prepared(entries["prepared.bin"], engine.prepared)
        manifest = {
            "format": VERSION, "tgraph": tgraph.__version__, "target": str(executable.target),
            "features": sorted(executable.target.features), "fingerprint": executable.graph.fingerprint,
            "signatures": [_signature(s) for s in engine.stages], "prepared": index,
            "aliases": executable.graph.weights.aliases,
            "entries": {name: _digest(file) for name, file in entries.items()},
        }
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            _add(archive, file, "manifest.json", json.dumps(manifest, indent=1).encode())
            for name, source in entries.items():
                _add(archive, file, name, source)


def load(path: str | os.PathLike[str]) -> Executable:
    """Read a bundle. Raises FormatError if it is none or damaged, TargetError if it is for another machine, and OSError."""
    path = Path(path)
    places = _places(path)
    manifest = _manifest(path, places)
    target = Target.parse(manifest["target"])
    if not target.is_host:
        from targets.tvm_api import host_cpu

        raise TargetError(f"{path} was compiled for {target}; this machine ({host_cpu()}) lacks some of its instructions; "
                          "compile it here, or for an older target such as cpu:x86-64-v3")
    for name, digest in manifest["entries"].items():
        if name not in places or hashlib.sha256(_map(path, places[name])).hexdigest() != digest:  # type: ignore[arg-type]
            raise FormatError(f"{path} is damaged: entry {name} is missing or not what was written")
    graphs = {name: _graph(path, places, name) for name in GRAPHS}
    graphs["traced"].weights.aliases.update(manifest["aliases"])
    if "constants.safetensors" in places:
        _fill_constants(graphs, _tensors(path, places["constants.safetensors"]))
    engine = CpuEngine(graphs["kernels"], load_library(_map(path, places["library.so"])))
    if [_signature(s) for s in engine.stages] != manifest["signatures"]:
        raise FormatError(f"{path} was written by tgraph {manifest['tgraph']}, whose library is called in another way than "
                          f"that of tgraph {tgraph.__version__}; compile it again")
    engine.load_prepared(_read_prepared(path, places["prepared.bin"], manifest["prepared"]))
    if "weights.safetensors" in places:
        for name, array in _tensors(path, places["weights.safetensors"]).items():
            graphs["traced"].weights.set(name, array)
    return Executable(graphs["traced"], graphs["optimized"], graphs["prepare"], graphs["kernels"], target, engine)


def _signature(stage: Stage) -> list[Any]:
    """What tells whether a library's function is called as the graph says."""
    return [stage.name, [n.attrs["function"].name for n in stage.calls], [w.name for w in stage.weights], stage.outputs,
            stage.symbols, [str(e) for e in stage.extents], stage.places]


# Tensors

def _write_prepared(path: Path, prepared: Mapping[str, np.ndarray]) -> list[list[Any]]:
    """All prepared tensors in one file; the index says name, dtype, shape and offset of each."""
    index = []
    with open(path, "wb") as file:
        for name, array in prepared.items():
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            dtype = next(d.name for d in DTYPES.values() if d.numpy == array.dtype)
            index.append([name, dtype, list(array.shape), file.tell()])
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return index


def _read_prepared(path: Path, place: tuple[int, int], index: list[list[Any]]) -> dict[str, np.ndarray]:
    raw = _map(path, place)
    result = {}
    for name, dtype_name, shape, offset in index:
        dtype = DTYPES[dtype_name].numpy
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        result[name] = raw[offset:offset + size].view(dtype).reshape(shape)
    return result


def _tensors(path: Path, place: tuple[int, int]) -> Mapping[str, np.ndarray]:
    """The tensors of a safetensors entry, as copies."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tensors.safetensors"
        file.write_bytes(_map(path, place).tobytes())
        tensors = open_tensors(file)
        return {name: np.array(tensors[name]) for name in tensors}


def _fill_constants(graphs: Mapping[str, Graph], tensors: Mapping[str, np.ndarray]) -> None:
    for graph in graphs.values():
        for block in (*graph.functions.values(), graph):
            for constant in block.constants.values():
                if constant.data is None:
                    constant.data = tensors[f"sha256:{constant.digest}"]


# The archive

def _add(archive: zipfile.ZipFile, file: IO[bytes], name: str, source: Path | bytes) -> None:
    """One entry, its data at a multiple of 64 bytes."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o644 << 16
    header = file.tell() + 30 + len(name.encode()) + 4
    room = -header % ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING, room) + b"\0" * room
    with archive.open(info, "w") as entry:
        if isinstance(source, bytes):
            entry.write(source)
            return
        with open(source, "rb") as content:
            while block := content.read(1 << 24):
                entry.write(block)


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Where each entry's data starts in the file, and its length."""
    places = {}
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                file.seek(info.header_offset + 26)
                name_length, extra_length = struct.unpack("<HH", file.read(4))
                places[info.filename] = info.header_offset + 30 + name_length + extra_length, info.file_size
    except (zipfile.BadZipFile, struct.error) as error:
        raise FormatError(f"{path} is no bundle of tgraph: {error}") from None
    return places


def _manifest(path: Path, places: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(_map(path, places["manifest.json"]).tobytes())
        version = manifest["format"]
    except (KeyError, ValueError, TypeError):
        raise FormatError(f"{path} is no bundle of tgraph: it has no manifest") from None
    if version != VERSION:
        raise FormatError(f"{path} has format {version}; this tgraph reads format {VERSION}")
    return manifest


def _map(path: Path, place: tuple[int, int]) -> np.ndarray:
    """Bytes of the file, mapped copy-on-write: TVM shares writable memory only."""
    start, size = place
    if start + size > path.stat().st_size:
        raise FormatError(f"{path} is cut off")
    return np.memmap(path, np.uint8, "c", start, (size,)) if size else np.empty(0, np.uint8)


def _graph(path: Path, places: Mapping[str, tuple[int, int]], name: str) -> Graph:
    text = _map(path, places[f"{name}.tg"]).tobytes().decode()
    return next(iter(parse_program(text, file=f"{path}:{name}.tg").graphs.values()))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
