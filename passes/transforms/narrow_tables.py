"""Lookups in tables of 8-bit integers, which are widened after it."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.products import missed
from passes.quantized import read_quantized
from passes.rewriting import current_report, erase_dead
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value

RULE = "((q - zero) scale)[i] = (q[i] - zero[i]) scale[i]"


@register_pass
@dataclass(frozen=True)
class NarrowTables(Pass):
    """((q - zero) scale)[i] = (q[i] - zero[i]) scale[i] for a parameter-only table of 8-bit integers.

    For lookups of whole rows, and slices of the first axis with symbolic bounds. zero and scale are looked up as well if there
    is one a row. So the table is kept as it is stored, and only what is looked up is widened.
    """

    effect = "exact"
    enters_functions = True

    def apply(self, graph: Graph) -> None:
        parameter_only = prepared(graph)
        for node in graph.nodes:
            at = _table(node) if node in graph else None
            if at is None or node in parameter_only:
                continue
            table = node.inputs[at]
            found = read_quantized(graph, table)
            if found is None or not is_prepared(table, parameter_only):
                missed(RULE, node, "the table is not made of 8-bit integers that are known before the inputs")
                continue
            b = Builder(graph, node.provenance)

            def looked_up(part: Value) -> Value:
                """The rows of what broadcasts to the table, or what is the same for all rows."""
                if part.type.rank == table.type.rank and part.shape[0] != 1:
                    operands = list(node.operands)
                    operands[at] = part
                    made: Value = b.apply(node.op, operands, node.attrs)
                    return made
                return part if part.type.rank < table.type.rank else b.reshape(part, shape=part.shape[1:])

            made = b.cast(looked_up(found.q), dtype=node.result.dtype)
            made = made if found.zero is None else b.sub(made, looked_up(found.zero))
            made = made if found.scale is None else b.mul(made, looked_up(found.scale))
            graph.replace(node.result, made)
            erase_dead(graph, [node], above=True)
            current_report().rewrote(RULE, [node], [made])


def _table(node: Node) -> int | None:
    """The operand of which a node looks up whole rows; None if it does nothing of the kind."""
    lookup = node.op.traits.lookup
    if lookup is not None:
        return lookup.table if lookup.axis is None or node.attrs[lookup.axis] == 0 else None
    is_rows = node.op.name == "slice" and all(a % node.inputs[0].type.rank == 0 for a in node.attrs["axes"])
    return 0 if is_rows else None
