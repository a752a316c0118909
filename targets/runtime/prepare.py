"""Running the prepare part of a graph: parameters to the tensors that kernels read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import networkx
import numpy as np

from targets.base.memory import give_back, neighbours
from targets.base.parallel import in_parallel
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Parameter, Result, Value
from tgraph.reference.interpreter import Interpreter

AT_ONCE = 8  # parts, after which an interrupt may come out
CHUNK = 1 << 23  # bytes of a tensor that are copied before their memory is given back


@dataclass
class _Part:
    """Nodes in order, and outputs with the memory that they go to, which share nothing with other parts but parameters."""

    nodes: list[Node] = field(default_factory=list)
    outputs: list[tuple[Value, np.ndarray]] = field(default_factory=list)


def evaluate_prepare(prepare: Graph, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The prepared tensors by name, at addresses that TVM can share, at the precision of their types.

    Part by part, on all cores, each straight into its place: beside the weights as they came there is never more than the tensors
    and what the parts at work have between. Of weights in a file that is mapped, what has been read is given back to the system.
    """
    names = [name for name, _ in prepare.outputs]
    places = neighbours(np.broadcast_to(np.zeros((), value.dtype.numpy), value.type.evaluate({})) for _, value in prepare.outputs)
    parts = _parts(prepare, places)
    said: list[str] = []
    for start in range(0, len(parts), AT_ONCE):
        for found in in_parallel(partial(_evaluate, prepare, weights), parts[start:start + AT_ONCE]):
            said += found
    for text in said:
        warnings.warn(text, stacklevel=2)
    return dict(zip(names, places))


def _parts(prepare: Graph, places: Sequence[np.ndarray]) -> list[_Part]:
    """The graph in parts, in the order of its nodes, and then of its outputs that no node makes."""
    joined: networkx.Graph = networkx.Graph()
    joined.add_nodes_from(prepare.nodes)
    joined.add_edges_from((v.node, node) for node in prepare.nodes for v in node.inputs if isinstance(v, Result))
    number = {node: i for i, nodes in enumerate(networkx.connected_components(joined)) for node in nodes}
    parts: dict[int, _Part] = {}
    for node in prepare.nodes:
        parts.setdefault(number[node], _Part()).nodes.append(node)
    alone = []
    for (_, value), place in zip(prepare.outputs, places):
        if isinstance(value, Result):
            parts[number[value.node]].outputs.append((value, place))
        else:
            alone.append(_Part([], [(value, place)]))
    return [*parts.values(), *alone]


def _evaluate(prepare: Graph, weights: Mapping[str, np.ndarray], part: _Part) -> list[str]:
    """Run a part's nodes, and bring each output to its place as soon as it is there. Returns what to warn of."""
    found: list[str] = []
    interpreter = Interpreter(prepare, faithful=True, weights=weights, observer=lambda *seen: found.extend(_overflow(*seen)))
    wanted = dict(part.outputs)
    last_use = {v: i for i, node in enumerate(part.nodes) for v in node.inputs}
    values: dict[Value, np.ndarray] = {}
    for value, place in part.outputs:
        if not isinstance(value, Result):
            _copy(place, interpreter.leaf(value, values))
    for position, node in enumerate(part.nodes):
        operands = [None if v is None else interpreter.leaf(v, values) for v in node.operands]
        values.update(zip(node.results, interpreter.run_node(node, operands, {})))
        del operands
        for value in node.results:
            if value in wanted:
                _copy(wanted[value], values[value])
        for value in (*node.inputs, *node.results):
            if last_use.get(value, position) == position:
                values.pop(value, None)
    for value in (*last_use, *wanted):
        if isinstance(value, Parameter):
            give_back(np.asarray(weights[value.name]))
    return found


def _overflow(node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> list[str]:
    """What to say of a cast that makes infinities of numbers, with the parameters that these are computed from."""
    result, narrow = node.results[0], node.op.name == "cast" and node.results[0].dtype.is_float
    if not narrow or result.dtype.bits >= 32 or operands[0] is None or not np.isinf(results[0]).any():
        return []
    lost = operands[0][np.isfinite(operands[0]) & np.isinf(results[0])]
    if not lost.size:
        return []
    names = ", ".join(repr(p.name) for p in _parameters(node)) or "a constant"
    return [f"{names} holds {float(lost.reshape(-1)[0]):g}, which becomes infinite in {result.dtype}, whose largest number is "
            f"{result.dtype.largest:g}; keep it in f32, or take bf16"]


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
    if source.ndim and source.flags.c_contiguous and source.nbytes > CHUNK:
        rows = max(1, len(source) * CHUNK // source.nbytes)
        for start in range(0, len(source), rows):
            target[start:start + rows] = source[start:start + rows]
            give_back(source[start:start + rows])
    elif source.flags.c_contiguous or source.ndim < 3:
        target[...] = source
    else:  # panels of a weight: one after the other, each transposed within the caches
        for panel, weight in zip(target, source):
            panel[...] = weight
