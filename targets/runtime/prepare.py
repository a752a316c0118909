"""Running the prepare part of a graph: parameters to the tensors that kernels read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from targets.base.memory import neighbours
from targets.base.parallel import in_parallel
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Parameter, Result
from tgraph.reference.interpreter import Interpreter


def evaluate_prepare(prepare: Graph, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The prepared tensors by name, at addresses that TVM can share, at the precision of their types."""
    results = Interpreter(prepare, faithful=True, weights=weights, observer=_warn_of_overflow).run_bound([], {})
    copies = neighbours(results.values())
    in_parallel(lambda pair: _copy(*pair), list(zip(copies, results.values())))
    return dict(zip(results, copies))


def _warn_of_overflow(node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
    """A warning that names the parameters if a cast makes infinities of their numbers."""
    result, narrow = node.results[0], node.op.name == "cast" and node.results[0].dtype.is_float
    if not narrow or result.dtype.bits >= 32 or operands[0] is None or not np.isinf(results[0]).any():
        return
    lost = operands[0][np.isfinite(operands[0]) & np.isinf(results[0])]
    if lost.size:
        names = ", ".join(repr(p.name) for p in _parameters(node)) or "a constant"
        warnings.warn(f"{names} holds {float(lost.reshape(-1)[0]):g}, which becomes infinite in {result.dtype}, whose largest "
                      f"number is {result.dtype.largest:g}; keep it in f32, or take bf16", stacklevel=2)


def _parameters(node: Node) -> list[Parameter]:
    """The parameters that a node is computed from."""
    found: dict[Parameter, None] = {}
    pending, seen = list(node.inputs), set(node.inputs)
    while pending:
        value = pending.pop()
        if isinstance(value, Parameter):
            found[value] = None
        elif isinstance(value, Result):
            pending += [v for v in value.node.inputs if v not in seen]
            seen.update(value.node.inputs)
    return list(found)


def _copy(target: np.ndarray, source: np.ndarray) -> None:
    if source.flags.c_contiguous or source.ndim < 3:
        target[...] = source
    else:  # panels of a weight: one after the other, each transposed within the caches
        for panel, weight in zip(target, source):
            panel[...] = weight
