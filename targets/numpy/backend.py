"""The backend of the interpreter."""

from __future__ import annotations

from targets.base.backend import Backend
from targets.base.target import Target
from targets.numpy.engine import NumpyEngine
from targets.runtime.library import Library
from tgraph.ir.errors import TargetError
from tgraph.ir.graph import Graph


class NumpyBackend(Backend):
    """Graphs are interpreted as the passes leave them."""

    kind = "numpy"

    def parse(self, detail: str) -> Target:
        if detail:
            raise TargetError(f"unknown target 'numpy:{detail}'; there is one interpreter, \"numpy\"")
        return Target(self.kind)

    def engine(self, graph: Graph, target: Target, library: Library | None) -> NumpyEngine:
        return NumpyEngine(graph)


BACKEND = NumpyBackend()
