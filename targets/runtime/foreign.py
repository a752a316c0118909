"""The code that a compilation depends on besides the graph: tgraph's own, and whatever a user registered."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from passes.base import Pass
from targets.base.backend import emitters_of
from targets.base.registry import backend_of
from targets.base.target import Target
from tgraph.ir.program import Program
from tgraph.ir.registry import OPS

PACKAGES = ("tgraph", "passes", "targets")
_IMPORTED = time.time()


def foreign_code(program: Program, passes: Sequence[Pass], target: Target) -> str | None:
    """Why the result of a compilation depends on code that is not tgraph's own; None if it does not."""
    if _newest_source() > _IMPORTED:
        return "tgraph's own code was changed after it was imported"
    for step in passes:
        if not _is_ours(type(step)):
            return f"pass {step.pass_name()} is not tgraph's own"
    used = {n.op.name for block in (*program.functions.values(), *program.graphs.values()) for n in block.nodes}
    if not _is_ours(type(backend_of(target))):
        return f"target {target} is not tgraph's own"
    for op, function in _registered(target):
        ours = op in OPS and _is_ours(OPS[op].infer)
        if not _is_ours(function) and (ours or op in used):
            return f"op {op} has a part that is not tgraph's own"
    return None


def _registered(target: Target) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every function that says what an op is, or how it is compiled, with the name of the op."""
    for name, op in OPS.items():
        yield from ((name, part) for part in (op.infer, op.numpy, op.decompose, op.lower, op.canonical,
                                              op.axes, op.contract) if part is not None)
    emitters = emitters_of(target)
    for table in (emitters.families, *emitters.tables):
        yield from table.items()


def _is_ours(definition: Any) -> bool:
    """Whether a function or class is tgraph's, or NumPy's, which ops name as their meaning."""
    if isinstance(definition, functools.partial):
        return _is_ours(definition.func)
    return isinstance(definition, np.ufunc) or str(definition.__module__).partition(".")[0] in (*PACKAGES, "numpy")


def _sources() -> list[Path]:
    home = Path(__file__).resolve().parents[2]
    return sorted(path for package in PACKAGES for path in (home / package).rglob("*.py"))


def _newest_source() -> float:
    return max(path.stat().st_mtime for path in _sources())


@functools.cache
def source_digest() -> str:
    """SHA-256 of tgraph's code: an entry of the cache must not outlive a change to the compiler."""
    digest = hashlib.sha256()
    for path in _sources():
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
