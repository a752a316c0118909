"""Variants: executables of one graph or program for several targets in one bundle, which share what is alike in their weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from targets.base.registry import KINDS, backend_of
from targets.base.target import ALIGNMENT, Target
from targets.runtime.archive import Archive
from targets.runtime.compiled import Compiled
from targets.runtime.loaded_weights import LoadedWeights
from targets.runtime.signatures import weights_of
from tgraph.ir.dtypes import DTYPES
from tgraph.ir.errors import CompileError, FormatError, TargetError
from tgraph.ir.program import Program

Part = tuple[Program, Compiled, LoadedWeights]  # what makes an executable
_BYTES = {dtype.numpy_name: dtype.numpy.itemsize for dtype in DTYPES.values()}


# Saving

def check_variant(part: Part, first: Part, seen: set[str]) -> None:
    """Check that a part is a variant of the first one: the same program over the same weights, for a target that was not `seen`.

    Raises CompileError, and TargetError for a target that has no library.
    """
    (program, first_compiled, weights), (other, compiled, data) = first, part
    names = ", ".join(program)
    if compiled.library is None:
        raise TargetError(f"target {compiled.target} has no library to save; save the graph itself with graph.save")
    if str(compiled.target) in seen:
        raise CompileError(f"two variants of {names} are for {compiled.target}; a bundle has one for each target")
    if part is first:
        return
    if other.fingerprint != program.fingerprint:
        raise CompileError(f"the variant for {compiled.target} is of another graph ({', '.join(other)}) than that for "
                           f"{first_compiled.target} ({names}); variants are one graph, compiled for several targets")
    for name in program.parameters:
        if name not in weights.data or name not in data.data:
            raise CompileError(f"{names} comes from a bundle without its weights ({name}), so variants cannot be seen to "
                               "have the same; compile the graph for each target, or save it with originals=True first")
        if not _equal(weights.data[name], data.data[name]):
            raise CompileError(f"{name} holds other values in the variant for {compiled.target} than in that for "
                               f"{first_compiled.target}; variants share one set of weights")


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one type have the same bits."""
    return a is b or np.array_equal(_bytes(a), _bytes(b))


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class Storage:
    """The places of tensors that the kernels of all variants read, in one entry: one for all tensors of the same bytes."""

    def __init__(self, several: bool):
        self._several, self._places, self._end = several, dict[Any, int](), 0

    def place(self, compiled: Compiled, prepared: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        """A variant's tensors with the byte at which each starts, and those that are new, in the order in which they lie."""
        table, new = [], []
        for weight in weights_of(compiled.kernels):
            array = prepared[weight["name"]]
            key = _content(array) if self._several else weight["name"]
            if key not in self._places:
                self._places[key] = self._end + -self._end % ALIGNMENT
                self._end = self._places[key] + array.nbytes
                new.append(array)
            table.append({**weight, "start": self._places[key]})
        return table, new


def _content(array: np.ndarray) -> tuple[int, bytes]:
    return array.nbytes, hashlib.sha256(_bytes(array).data).digest()


# Loading

def check_places(archive: Archive) -> None:
    """Whether the weights of all variants lie one after the other and fill their entry. Raises FormatError."""
    end, sizes = 0, {0: 0}  # sizes: of what is known to begin at a byte
    for weight in (weight for variant in archive.manifest["variants"] for weight in variant["weights"]):
        start, size = weight["start"], math.prod(weight["shape"]) * _BYTES.get(weight["dtype"], -1)
        following = end + -end % ALIGNMENT
        if start == following and size >= 0:
            sizes[start], end = size, start + size
        elif sizes.get(start) != size and (size or start % ALIGNMENT or not 0 <= start <= end):
            raise FormatError(f"{archive.path}: the manifest places weights where there are none")
    if end != archive["prepared.bin"].size:
        raise FormatError(f"{archive.path}: entry prepared.bin has {archive['prepared.bin'].size} bytes, the weights of the "
                          f"kernels {end}")


def choose(archive: Archive, wanted: str | None) -> tuple[Archive, Target]:
    """The part of a bundle that is the variant for this machine, and its target, with the instruction sets that it names.

    That is, of those which this machine can run and whose instruction sets no other one of them has and more, the first. wanted:
    choose among those of a kind ("cpu"), or take that for a target, whether this machine runs it or not.
    Raises TargetError that lists all variants and what keeps each from running here, and FormatError if there is none.
    """
    variants = dict(enumerate(archive.manifest["variants"]))
    if not variants:
        raise FormatError(f"{archive.path}: the manifest lists no variant")
    known = ", ".join(listed(archive))
    if wanted is not None:
        text = wanted if wanted in KINDS or wanted in listed(archive) else str(Target.parse(wanted))
        variants = {n: v for n, v in variants.items() if text in (v["target"], v["target"].partition(":")[0])}
        if not variants:
            raise TargetError(f"{archive.path} has no variant for {wanted}; it has {known}")
    found: dict[int, Target] = {}
    problems = []
    for number, variant in variants.items():
        try:
            target = replace(Target.parse(variant["target"]), features=frozenset(variant["features"]))
            problem = "" if len(variants) == 1 else backend_of(target).obstacle(target)
        except TargetError as error:
            if len(variants) == 1:
                raise
            problem = str(error).partition("\n")[0]
        if problem:
            problems.append(f"\n  {variant['target']}: {problem}")
        else:
            found[number] = target
    if not found:
        raise TargetError(f"{archive.path} was compiled for {known}, and this machine ({Target.parse('cpu')}) runs none of "
                          f"them:{''.join(problems)}")
    number = next(n for n, target in found.items() if not any(
        target.kind == other.kind and target.features < other.features for other in found.values()))
    return archive.part(str(number), variants[number]), found[number]


def listed(archive: Archive) -> tuple[str, ...]:
    """The targets of a bundle's variants, in their order."""
    variants: Sequence[Mapping[str, Any]] = archive.manifest["variants"]
    return tuple(variant["target"] for variant in variants)
