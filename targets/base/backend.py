"""What a kind of target brings: its kernels by op, the form it wants graphs in, and how machine code is made.

`targets/cpu/backend.py` and `targets/cuda/backend.py` hold one each. A new kind is such a package, a row of KINDS in `target.py`,
and one here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from targets.base.target import Target
from targets.base.tvm_api import IRModule, relax
from targets.codegen.frame import Each, Frame
from tgraph.ir.errors import TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node

Emit = Callable[[Frame, Target], None]
HOMES = {"cpu": "targets.cpu.backend", "cuda": "targets.cuda.backend"}  # of each kind: where BACKEND is


@dataclass(frozen=True)
class Backend:
    """One kind of target.

    families: anchor op -> what emits the kernels about it; pointwise: what emits those without an anchor. each: a loop over
    elements that do not depend on each other. arrange: brings a graph into the form whose products the families want;
    accepts: whether they then take an anchor, or want it decomposed. build: machine code of a lowered module. functions: a
    context in which kernels are emitted, of a kind that has exp and the like itself. cells: where single
    numbers lie, TVM's scope.
    """

    families: dict[str, Emit]
    pointwise: Emit
    each: Each
    arrange: Callable[[Graph, Target], None]
    accepts: Callable[[Node], bool]
    build: Callable[[IRModule, Target], relax.VMExecutable]
    functions: Callable[[], AbstractContextManager[None]] = nullcontext
    cells: str = "global"

    def family_of(self, function: Graph) -> Emit:
        """The emitter of a function: that of its anchor."""
        for node in function.nodes:
            if node.op.name in self.families:
                return self.families[node.op.name]
        return self.pointwise


def backend_of(target: Target | str) -> Backend:
    """What belongs to a target, or to a kind of targets. Raises TargetError for a kind without kernels."""
    kind = target if isinstance(target, str) else target.kind
    if kind not in HOMES:
        raise TargetError(f"target {kind} has no kernels")
    found: Backend = importlib.import_module(HOMES[kind]).BACKEND
    return found


def kernel(op: str, target: str = "cpu") -> Callable[[Emit], Emit]:
    """Register the emitter of an op for a kind of target: `emit(frame, target)`, called where the kernel's statements go.

    Kernels whose anchor is the op are then emitted by it; see `targets.cpu.emitters.matmul` for one to learn from.
    """

    def register(emit: Emit) -> Emit:
        backend_of(target).families[op] = emit
        return emit

    return register
