"""The kinds of targets: where the backend of each is, and how a user's own joins them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

from tgraph.ir.errors import TargetError

if TYPE_CHECKING:
    from targets.base.backend import Backend

KINDS = {
    "cpu": 'this machine\'s CPU, or one by LLVM\'s name: "cpu:skylake-avx512"; changed: "cpu:znver4,-avx512f", "cpu:-avx512f"',
    "cuda": 'this machine\'s GPU, or NVIDIA\'s name of an architecture: "cuda:sm_90"; that needs no GPU',
    "numpy": "the reference interpreter, float by float as the types say; no compiler",
}
"""The kinds of targets, each with what may follow it: `"cpu:..."`."""
_HOMES = {kind: f"targets.{kind}.backend" for kind in KINDS}  # modules that define a BACKEND
_BACKENDS: dict[str, Backend] = {}


class HasKind(Protocol):
    """Anything that has the kind of a target."""

    @property
    def kind(self) -> str: ...


def backend_of(target: HasKind | str) -> Backend:
    """The backend of a target, or of a kind of targets. Raises TargetError that lists the known ones."""
    kind = target if isinstance(target, str) else target.kind
    if kind not in KINDS:
        known = "\n".join(f"  {name:<6} {what}" for name, what in KINDS.items())
        raise TargetError(f"unknown target {kind!r}; the known ones are\n{known}\n"
                          "one of your own: import its file first (tgraph --plugin FILE)")
    if kind not in _BACKENDS:
        _BACKENDS[kind] = importlib.import_module(_HOMES[kind]).BACKEND
    return _BACKENDS[kind]


def register_backend(backend: Backend) -> Backend:
    """Make a kind of targets known to `compile`, the command line and bundles. Raises TargetError for a name that is taken."""
    known = _BACKENDS.get(backend.kind)
    if backend.kind in _HOMES or (known is not None and type(known).__qualname__ != type(backend).__qualname__):
        raise TargetError(f"target {backend.kind!r} is already defined")
    KINDS[backend.kind], _BACKENDS[backend.kind] = backend.summary, backend
    return backend
