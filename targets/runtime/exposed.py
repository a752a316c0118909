"""Values inside of a compiled graph, by a program in which they are outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value

if TYPE_CHECKING:
    from targets.runtime.executable import Executable


@dataclass(frozen=True)
class Exposed:
    """Makes a copy of a graph whose further outputs are the results of some nodes, given by their numbers in `Graph.nodes`."""

    numbers: tuple[int, ...]

    @classmethod
    def of(cls, graph: Graph, nodes: Iterable[Node]) -> Exposed:
        wanted = set(nodes)
        return cls(tuple(i for i, node in enumerate(graph.nodes) if node in wanted))

    def __call__(self, graph: Graph) -> Graph:
        """The copy; what it had as states are ordinary inputs and outputs."""
        copy = graph.copy(f"{graph.name}_values")
        nodes = copy.nodes
        further = [(f"node{i}.{r.index}", r) for i in self.numbers for r in nodes[i].results]
        copy.set_outputs([*copy.outputs, *further])
        copy.states = {}
        return copy

    def run(self, executable: Executable, feeds: Mapping[str, Any]) -> dict[Value, np.ndarray]:
        """The arrays by value of the executable's optimised graph."""
        if not self.numbers:
            return {}
        outputs = executable.companion(self, optimized=True).run(feeds)
        nodes = executable.optimized.nodes
        return {r: outputs[f"node{i}.{r.index}"] for i in self.numbers for r in nodes[i].results}
