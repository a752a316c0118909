"""Bundles, `.tgc`: a compiled graph or program in one file (`archive.py` says how it is laid out).

Entries: the traced graph as text, prepared.bin, constants.safetensors if the graphs have large ones, weights.safetensors with
the original weights if asked for, a folder `files` with what travels along (`attached.py`), for each variant (`variants.py`) a
folder 0, 1, ... with library.so and the graphs at three levels, and the manifest: versions, and for each variant its target and
how its library is called (`signatures.py`). An entry of the compile cache is one variant without folder, weights and traced
graph, which the caller has.
"""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tgraph
from targets.base.registry import backend_of
from targets.base.room import enough_memory
from targets.base.target import Target
from targets.base.tvm_api import tvm_version
from targets.lowering.stages import Plan, plan_program
from targets.runtime.archive import Archive, size_of, writing_archive
from targets.runtime.attached import file_entries
from targets.runtime.compiled import Compiled
from targets.runtime.library import Library
from targets.runtime.manifest import Fields
from targets.runtime.signatures import SIGNATURES, WEIGHTS, signatures, weights_of
from targets.runtime.variants import Part, Storage, check_places, check_variant
from tgraph.formats.safetensors import tensor_parts, view_tensors
from tgraph.ir.errors import CompileError, FormatError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse_program
from tgraph.ir.program import Program, as_program
from tgraph.ir.verify import verify

COMPILED = ("optimized", "prepare", "kernels")  # what the cache keeps
LEVELS = ("traced", *COMPILED)
VARIANT: Fields = {"target": str, "features": [str], "signatures": SIGNATURES, "weights": WEIGHTS}
FIELDS: Fields = {"tgraph": str, "tvm": str, "system": str, "kind": str, "fingerprint": str, "aliases": {str: str},
                  "variants": [VARIANT]}
SYSTEM = f"{sys.platform}-{platform.machine()}"  # that libraries are linked for: "linux-x86_64"


def save(executable: Any, variants: Iterable[Any], path: Path, originals: bool, kind: str, files: Mapping[str, bytes]) -> None:
    """Write a bundle of an executable and its variants; `kind`: whether "graph" or "program" was compiled.

    Of `variants` one at a time is asked for, written, and let go of. files: what travels along, by name.
    Raises CompileError without a C compiler, for variants that differ in more than their target, and for files that a bundle does
    not take, TargetError for a target without a library, DiskError, and OutOfMemoryError.
    """
    with enough_memory(f"saving {path}"):
        _save(executable, variants, path, originals, kind, file_entries(files))


def _save(executable: Any, variants: Iterable[Any], path: Path, originals: bool, kind: str,
          attached: Mapping[str, bytes]) -> None:
    alone = isinstance(variants, Sized) and not len(variants)
    first: Part = executable._part
    program, _, weights = first
    check_variant(first, first, set())
    storage = Storage(several=not alone)
    written = [_Variant(first, storage)]
    entries: dict[str, bytes | list[np.ndarray]] = {**attached, "traced.tg": _text(program)}
    if originals:
        entries["weights.safetensors"] = _safetensors({name: weights.data[name] for name in program.parameters})
    needed = sum(map(size_of, (written[0].new, *written[0].code.values(), *entries.values()))) if alone else None
    with writing_archive(path, needed) as archive:
        archive.add("prepared.bin", _tensors(executable, variants, written, storage))
        constants: dict[str, np.ndarray] = _constants([program])
        for number, variant in enumerate(written):
            constants.update(variant.constants)
            for name, content in variant.code.items():
                archive.add(f"{number}/{name}", content)
        for name, content in {**entries, **_constant_entry(constants)}.items():
            archive.add(name, content)
        archive.finish({"tgraph": tgraph.__version__, "tvm": tvm_version(), "system": SYSTEM, "kind": kind,
                        "fingerprint": program.fingerprint, "aliases": program.weights.aliases,
                        "variants": [variant.manifest for variant in written]})


class _Variant:
    """What a bundle has of a variant, without its weights. new: its tensors that are not stored yet, until they are taken."""

    def __init__(self, part: Part, storage: Storage):
        _, compiled, weights = part
        table, self.new = storage.place(compiled, weights.prepared)
        self.code = code_entries(compiled)
        self.constants = _constants(_programs(compiled))
        self.target = str(compiled.target)
        self.manifest = {"target": self.target, "features": sorted(compiled.target.features),
                         "signatures": signatures(compiled.kernels, compiled.plans), "weights": table}


def _tensors(executable: Any, variants: Iterable[Any], written: list[_Variant], storage: Storage) -> Iterator[np.ndarray]:
    """The tensors of all variants; the later ones are checked and described as their turn comes."""
    first, targets = executable._part, {written[0].target}
    yield from _taken(written[0])
    for variant in map(_part_like(executable), variants):
        check_variant(variant, first, targets)
        written.append(_Variant(variant, storage))
        targets.add(written[-1].target)
        del variant  # the next one may be compiled only now: this one need not be in memory beside it
        yield from _taken(written[-1])


def _taken(variant: _Variant) -> Iterator[np.ndarray]:
    while variant.new:
        yield variant.new.pop(0)


def _part_like(executable: Any) -> Callable[[Any], Part]:
    """Takes a variant apart. Raises CompileError for what is not of the executable's kind."""
    def part(other: Any) -> Part:
        if type(other) is not type(executable):
            raise CompileError(f"a variant is the same graph or program as tg.compile gives it for another target, not {other!r}")
        found: Part = other._part
        return found

    return part


def require_runtime(archive: Archive) -> None:
    """Raises FormatError, or TargetError, for libraries that were made for another TVM or system than this."""
    system, tvm = archive.manifest["system"], archive.manifest["tvm"]
    if system != SYSTEM:
        raise TargetError(f"{archive.path} was compiled on {system}, and this is {SYSTEM}; compile it here, or load it with "
                          "rebuild=True")
    if tvm != tvm_version():
        raise FormatError(f"{archive.path} was compiled with TVM {tvm}, and this is TVM {tvm_version()}; compile it again, or "
                          "load it with rebuild=True")


# Code: what bundles and the cache have in common

def code_entries(compiled: Compiled) -> dict[str, bytes | list[np.ndarray]]:
    """The library and graphs as entries of an archive. Raises CompileError if the library cannot be linked."""
    assert compiled.library is not None
    return {"library.so": [compiled.library.link()],
            **{f"{level}.tg": _text(program) for level, program in zip(COMPILED, _programs(compiled))}}


def _programs(compiled: Compiled) -> list[Program]:
    return [compiled.optimized, as_program(compiled.prepare, CompileError), compiled.kernels]


def _text(program: Program) -> bytes:
    return (program.text(scopes=True, locations=True) + "\n").encode()


def constant_entries(compiled: Compiled) -> dict[str, bytes | list[np.ndarray]]:
    """The entry of the constants of the graphs of `code_entries`, if there are any."""
    return _constant_entry(_constants(_programs(compiled)))


def _constants(programs: Iterable[Program]) -> dict[str, np.ndarray]:
    """The constants of which the text has the digest only, by that."""
    return {f"sha256:{c.digest}": c.data for block in _blocks(programs) for c in block.constants.values()
            if c.data is not None and c.type.rank}


def _constant_entry(constants: Mapping[str, np.ndarray]) -> dict[str, bytes | list[np.ndarray]]:
    return {"constants.safetensors": _safetensors(constants)} if constants else {}


def read_compiled(archive: Archive, target: Target, programs: Mapping[str, Program]) -> Compiled:
    """The compiled program in an archive.

    Raises FormatError if entries do not fit together, or this tgraph calls the library in another way than that which wrote it.
    """
    plans = _plans(archive, programs)
    if signatures(programs["kernels"], plans) != archive.manifest["signatures"]:
        raise FormatError(f"{archive.path} was written by tgraph {archive.manifest['tgraph']}, whose library is called in "
                          f"another way than that of tgraph {tgraph.__version__}; compile it again, or load it with rebuild=True")
    return _compiled(target, programs, plans, Library(image=archive["library.so"]))


def rebuild_compiled(archive: Archive, target: Target, programs: Mapping[str, Program]) -> Compiled:
    """The same with a library that is made of the archive's graphs now. Raises FormatError as it does, and TGraphError."""
    from targets.lowering.lower import lower

    plans, kernels = _plans(archive, programs), programs["kernels"]
    for program in programs.values():
        verify(program)
    lowered = lower(kernels, plans, target)
    image = backend_of(target).image(lowered)
    library = Library(lowered.executable) if image is None else Library(image=image)
    return replace(_compiled(target, programs, plans, library), lowered=lowered)


def _plans(archive: Archive, programs: Mapping[str, Program]) -> dict[str, Plan]:
    """The plan of each graph. Raises FormatError if the levels of an archive hold different graphs."""
    names = {level: list(program) for level, program in programs.items() if level != "prepare"}
    if any(found != list(programs["kernels"]) for found in names.values()) or len(programs["prepare"].graphs) != 1:
        raise FormatError(f"{archive.path}: its entries hold different graphs: {names}")
    return plan_program(programs["kernels"])


def _compiled(target: Target, programs: Mapping[str, Program], plans: Mapping[str, Plan], library: Library) -> Compiled:
    """The program over a library, which is loaded."""
    backend, kernels = backend_of(target), programs["kernels"]
    if backend.loads_libraries:
        library.load()
    prepare, = programs["prepare"].graphs.values()
    engines = backend.engines(kernels, target, plans, library)
    return Compiled(target, programs["optimized"], prepare, kernels, plans, library, engines, {})


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
    """The tensors that kernels read, mapped."""
    raw, places = archive["prepared.bin"], archive.manifest["weights"]
    check_places(archive)
    if [{key: value for key, value in place.items() if key != "start"} for place in places] != weights_of(kernels):
        raise FormatError(f"{archive.path}: the weights that the manifest lists are not those that the kernels read")
    found: dict[str, np.ndarray] = {}
    for place in places:
        type = kernels.parameters[place["name"]]
        dtype, shape = type.dtype.numpy, tuple(place["shape"])
        size = math.prod(shape) * dtype.itemsize
        found[place["name"]] = raw[place["start"]:place["start"] + size].view(dtype).reshape(shape)
    return found


def _safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Tensors as the bytes of a .safetensors file."""
    return b"".join(part.data for part in tensor_parts("the bundle", tensors))


def read_tensors(archive: Archive, entry: str) -> Mapping[str, np.ndarray]:
    """The tensors of a safetensors entry, as copies."""
    tensors = view_tensors(archive[entry], Path(f"{archive.path}: {entry}"))
    return {name: np.array(tensors[name]) for name in tensors}
