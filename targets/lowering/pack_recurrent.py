"""Recurrent weights in panels that hold all gates of a run of units."""

from __future__ import annotations

from collections.abc import Callable

from passes.rewriting import current_report
from targets.lowering.canonical import prepare_part
from tgraph.ir.analysis import is_prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.types import TensorType


def pack_recurrent(graph: Graph, width_for: Callable[[TensorType, int], int]) -> None:
    """Cut the weights of every recurrence that are known before any input into panels.

    width_for: the units of a panel, by the type of the weights and the number of gates.
    """
    parameter_only = prepare_part(graph)
    for node in graph.nodes:
        gates = node.op.traits.recurrence
        if gates is None or node in parameter_only or not is_prepared(node.inputs[1], parameter_only):
            continue
        weight, b = node.inputs[1], Builder(graph, node.provenance)
        hidden = weight.shape[2]
        assert isinstance(hidden, int)
        packed = b.pack_gates(weight, gates=gates, width=width_for(weight.type, gates))
        graph.set_operand(node, 1, b.unpack_gates(packed, gates=gates, hidden=hidden))
        current_report().rewrote("W = unpack_gates(pack_gates(W))", [node], node.results)
