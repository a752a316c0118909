"""The backend of the interpreter."""

from __future__ import annotations

from collections.abc import Mapping

from targets.base.backend import Backend
from targets.base.target import Target
from targets.lowering.stages import Plan
from targets.numpy.engine import NumpyEngine
from targets.runtime.engine import Engine
from targets.runtime.library import Library
from tgraph.ir.errors import TargetError
from tgraph.ir.program import Program


class NumpyBackend(Backend):
    """Graphs are interpreted as the passes leave them."""

    kind = "numpy"

    def parse(self, detail: str) -> Target:
        if detail:
            raise TargetError(f"unknown target 'numpy:{detail}'; there is one interpreter, \"numpy\"")
        return Target(self.kind)

    def engines(self, program: Program, target: Target, plans: Mapping[str, Plan], library: Library | None) -> dict[str, Engine]:
        return {name: NumpyEngine(graph) for name, graph in program.graphs.items()}


BACKEND = NumpyBackend()
