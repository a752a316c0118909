"""Runs graphs by the reference interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from targets.runtime.engine import HostEngine, Sizes
from targets.runtime.outputs import Outputs
from tgraph.ir.graph import Graph
from tgraph.reference.interpreter import Interpreter


class NumpyEngine(HostEngine):
    """The interpreter, at the precision of the types."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.weights: Mapping[str, np.ndarray] = {}

    def load_prepared(self, prepared: Mapping[str, np.ndarray]) -> None:
        self.weights = prepared

    def run(self, arrays: Sequence[np.ndarray], sizes: Sizes, out: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = Outputs(self.graph, out)
        outputs.update(Interpreter(self.graph, faithful=True, weights=self.weights).run_bound(arrays, dict(sizes)))
        return outputs.finish()
