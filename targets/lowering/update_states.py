"""Updates of states in place."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from tgraph.ir.graph import Graph
from tgraph.ir.registry import get_op
from tgraph.ir.values import Input, Node, Result, Value


@register_pass
@dataclass(frozen=True)
class UpdateStates(Pass):
    """Lets `update_slice` write into the memory of a state, where nothing else reads what the state held before.

    All other updates copy. The memory that a state ends with must be that which it began with: its output is the last of a
    chain of updates that begins at its input.
    """

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        in_place = {node for name, value in graph.outputs if name in graph.states for node in _chain(graph, name, value)}
        for node in graph.nodes:
            update = node.op.traits.update
            wanted = node.op.name if update is None else update.in_place if node in in_place else update.copying
            if node.op.name != wanted:
                made = graph.insert(get_op(wanted), node.operands, node.attrs, node.provenance)
                graph.replace(node.result, made)
                graph.erase(node)
                current_report().rewrote(f"{node.op.name} = {wanted}", [node], [made])


def _chain(graph: Graph, name: str, value: Value) -> list[Node]:
    """The updates that lead from what a state holds to what it will hold; none if one of them has to copy."""
    chain: list[Node] = []
    while isinstance(value, Result) and (update := value.node.op.traits.update) is not None:
        chain.append(value.node)
        old = value.node.operands[update.x]
        assert old is not None
        if len(old.uses) > 1 or graph.is_output(old):
            return []
        value = old
    once = sum(v is chain[0].result for _, v in graph.outputs) == 1 if chain else False
    return chain if once and isinstance(value, Input) and value.name == name else []
