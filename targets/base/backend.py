"""Backends: what a kind of target provides, from its machines and last passes to its kernels and what runs them.

A new kind is a subclass of `Backend` and a row in `registry.py`, or `register_backend` in a file of the user's own
(`examples/own_target.py`). Everything else asks the backend; nothing outside of its package asks which kind it is.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from passes.base import Pass
from targets.base.listing import FORMS, functions_in
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.base.yardstick import Yardstick
from tgraph.ir.errors import CompileError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.ir.registry import Op, get_op
from tgraph.ir.values import Node

if TYPE_CHECKING:
    from targets.base.tvm_api import IRModule, relax
    from targets.codegen.kernel_builder import Each, KernelBuilder
    from targets.lowering.lower import Lowered
    from targets.lowering.stages import Plan
    from targets.runtime.engine import Engine
    from targets.runtime.library import Library

Emit = Callable[["KernelBuilder", Target], None]


@dataclass(frozen=True)
class Emitters:
    """The kernel emitters of a kind of target: they make TIR functions of function graphs.

    families: anchor op -> emitter of the kernels about it; pointwise: the emitter of those without an anchor. readable: whether a
    kernel computes a node element by element as it reads; repeating: whether an op may read one element of an operand for several
    elements of its result. each: a loop over elements that do not depend on each other. functions: a context in which kernels are
    emitted, for a kind that has exp and the like itself. scalar_scope: TVM's scope of memory for single numbers. tables: other
    tables that a user's own ops may extend.
    """

    families: dict[str, Emit]
    pointwise: Emit
    each: Each
    readable: Callable[[Node], bool]
    repeating: Callable[[Op], bool]
    functions: Callable[[], AbstractContextManager[None]] = nullcontext
    scalar_scope: str = "global"
    tables: tuple[Mapping[str, Callable[..., Any]], ...] = field(default=(), repr=False)

    def anchor_of(self, function: Graph) -> str | None:
        """The op that a function's kernel family is for; None if it is computed element by element."""
        return next((node.op.name for node in function.nodes if node.op.name in self.families), None)

    def family_of(self, function: Graph) -> Emit:
        """The emitter of a function: that of its anchor."""
        anchor = self.anchor_of(function)
        return self.pointwise if anchor is None else self.families[anchor]


class Backend(abc.ABC):
    """One kind of target. The defaults are those of a kind whose code runs on this machine and that has no extras.

    kind, summary: its name in "kind:detail", and what that may say. emitters: its kernels; None for a kind that has no
    library, and interprets graphs. half_activations: whether precision="f16" keeps what lies between products in f16 as well.
    loads_libraries: whether a library is mapped when a bundle is read, and not when it is first called. levels: of source,
    besides those that all libraries have.
    """

    kind = ""
    summary = ""
    emitters: Emitters | None = None
    half_activations = False
    loads_libraries = True
    levels: tuple[str, ...] = ()
    oldest = ""  # a target that most machines run, for a message

    # Machines

    @abc.abstractmethod
    def parse(self, detail: str) -> Target:
        """The target of "kind:detail"; an empty detail is this machine. Raises TargetError."""

    def missing(self, target: Target) -> frozenset[str]:
        """Instruction sets that code for a target may use and this machine does not have."""
        return frozenset()

    def refused(self, missing: frozenset[str]) -> str:
        """Why the system does not let programs use some of what is `missing`, though the machine has it; else empty."""
        return ""

    def obstacle(self, target: Target) -> str:
        """Why code for a target does not run on this machine; empty if it does."""
        lacking = self.missing(target)
        if not lacking:
            return ""
        missing, why = sorted(lacking), self.refused(lacking)
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        return f"lacks some of its instructions: {shown}{f' ({why})' if why else ''}"

    def require_host(self, target: Target, what: str) -> None:
        """Raises TargetError if code for a target, `what` in the message, may have instructions that this machine does not."""
        if self.missing(target):
            raise TargetError(f'{what} was compiled for {target}; this machine ({self.parse("")}) {self.obstacle(target)}; '
                              f'compile it here for "{self.kind}", or for an older one{self.oldest}')

    # Compiling

    def lowering(self, target: Target) -> list[Pass]:
        """The target's own last passes, down to a graph of kernel calls; none where graphs are interpreted."""
        return []

    def accepts(self, node: Node) -> bool:
        """Whether the kernel family of a node's op can compute this node; else the op is decomposed."""
        return True

    def has_kernel(self, node: Node) -> bool:
        """Whether an op stays as it is: a family takes it, or kernels compute it element by element."""
        if self.emitters is None:
            return False
        return self.accepts(node) if node.op.name in self.emitters.families else self.emitters.readable(node)

    def no_faster(self, target: Target, precision: str) -> str:
        """Why products in a reduced precision are no faster there than in f32, as far as is known; else empty."""
        return ""

    def fastest_first(self, target: Target) -> list[tuple[str, str]]:
        """The ways to compute that `precision="auto"` chooses from, as (precision, weights) of `tg.compile`.

        As far as is known each is at least as fast as those after it; f32 is the last.
        """
        return [("f32", "f32")]

    def facts(self, target: Target) -> dict[str, str]:
        """What the code depends on besides graph, passes, target, TVM and tgraph: versions of compilers."""
        return {}

    def build(self, module: IRModule, target: Target) -> relax.VMExecutable:
        """Machine code of a lowered module. Raises CompileError."""
        raise CompileError(f"target {target} builds no code")

    def image(self, lowered: Lowered) -> np.ndarray | None:
        """The bytes of a shared library, if the backend links its own; by default TVM's module is one in memory."""
        return None

    # Running and looking

    @abc.abstractmethod
    def engines(self, program: Program, target: Target, plans: Mapping[str, Plan], library: Library | None) -> dict[str, Engine]:
        """The engine of each graph of kernel calls; plans and a library are given if the backend has emitters."""

    def source(self, lowered: Lowered, level: str) -> str:
        """The source of a lowered module at one of `levels`."""
        raise TargetError(f"target {lowered.target} has no source {level!r}")

    def functions(self, text: str, level: str) -> dict[str, str]:
        """The text of each function in a listing of machine code, or of what it is made of, by name. Raises TargetError for a
        level that is not known to `targets.base.listing`."""
        if level not in FORMS:
            raise TargetError(f"the source {level!r} of {self.kind} is shown whole: how its functions begin and end is not known")
        return functions_in(text, FORMS[level])

    def library_source(self, library: Library, level: str) -> str | None:
        """The source of a loaded library at one of `levels`; None if the library does not contain it."""
        return None

    def probe(self, target: Target, threads: int) -> Yardstick | None:
        """Measure what this machine can do at most, in a second or two; None for a kind of machine that has no probe."""
        return None

    def rates(self, target: Target, threads: int) -> dict[str, float]:
        """Operations a second of products of f32, bf16 and 8-bit integers, by type, measured here; empty without a probe."""
        return {}

    def resources(self, lowered: Lowered) -> Any:
        """A table of what each kernel takes of the machine. Raises TargetError where there is none."""
        raise TargetError(f"target {lowered.target} has no table of resources; targets for GPUs have")


def emitters_of(target: Target | str) -> Emitters:
    """The emitters of a target, or of a kind of targets. Raises TargetError for a kind that has none."""
    found = backend_of(target).emitters
    if found is None:
        raise TargetError(f"target {target} has no kernels")
    return found


def kernel(op: str, target: str = "cpu") -> Callable[[Emit], Emit]:
    """Register the emitter of an op for a kind of target: `emit(builder, target)`, called where the kernel's statements go.

    Kernels whose anchor is the op are then emitted by it; see `targets.cpu.emitters.matmul` for one to learn from. A backend
    that shares another one's emitters shares this one, too. Raises RuleError for an unknown op.
    """
    get_op(op)

    def register(emit: Emit) -> Emit:
        emitters_of(target).families[op] = emit
        return emit

    return register
