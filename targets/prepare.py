"""Running the prepare part of a graph: parameters to the tensors that kernels read."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from targets.interrupts import hold_interrupts
from targets.memory import neighbours
from targets.target import default_threads
from tgraph.ir.graph import Graph
from tgraph.reference.interpreter import Interpreter


def evaluate_prepare(prepare: Graph, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The prepared tensors by name, at addresses that TVM can share, at the precision of their types."""
    results = Interpreter(prepare, faithful=True, weights=weights).run_bound([], {})
    copies = neighbours(results.values())
    with hold_interrupts(), ThreadPoolExecutor(default_threads()) as pool:  # copying lets go of Python's lock
        list(pool.map(_copy, copies, results.values()))
    return dict(zip(results, copies))


def _copy(target: np.ndarray, source: np.ndarray) -> None:
    if source.flags.c_contiguous or source.ndim < 3:
        target[...] = source
    else:  # panels of a weight: one after the other, each transposed within the caches
        for panel, weight in zip(target, source):
            panel[...] = weight
