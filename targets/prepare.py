"""Running the prepare part of a graph: parameters to the tensors that kernels read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from targets.runner import aligned_empty
from tgraph.ir.graph import Graph
from tgraph.reference.interpreter import Interpreter


def evaluate_prepare(prepare: Graph, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The prepared tensors by name, at addresses that TVM can share, at the precision of their types."""
    results = Interpreter(prepare, faithful=True, weights=weights).run_bound([], {})
    return {name: aligned_copy(array) for name, array in results.items()}


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A dense copy that starts at a multiple of 64 bytes."""
    result = aligned_empty(array.shape, array.dtype)
    result[...] = array
    return result
