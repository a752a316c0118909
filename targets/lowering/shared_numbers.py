"""Numbers in which kernels differ that are otherwise equal: as operands, so that one kernel serves all layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from passes.rewriting import current_report
from targets.lowering.grouping import CHEAP
from tgraph.ir.builder import Builder
from tgraph.ir.extract import arranged, extract
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Value

Place = tuple[Node, int, Constant]  # a number, and the operand of a node that it is

_NUMBER = re.compile(r"\b([fiu]\d+|bf16)\([^()\[\]]*\)")  # a constant of rank 0 in the text of a graph


def lift_numbers(graph: Graph, groups: Sequence[Collection[Node]], content: Callable[[Graph], str]) -> None:
    """Make operands of the numbers in which groups of nodes differ that are otherwise equal.

    Scales and zero points of quantised models are numbers, other ones in each layer. Only those that cheap elementwise ops read,
    which compute the same with a number from memory. content: the text of a function without its name.
    """
    alike: dict[str, list[list[Place]]] = {}
    for group in groups:
        if any(_numbers(node) for node in group):
            places = [place for node in arranged(graph, group) for place in _numbers(node)]
            text = content(extract(graph, group, "kernel")[0])
            alike.setdefault(_NUMBER.sub(r"\1", text), []).append(places)
    lifted: dict[Constant, Value] = {}
    for variants in alike.values():
        for same in zip(*variants):
            if len({number for _, _, number in same}) < 2:
                continue
            for node, position, number in same:
                if number not in lifted:
                    assert number.data is not None
                    stored = graph.constant(number.data.reshape(1), number.dtype)
                    lifted[number] = Builder(graph, node.provenance).reshape(stored, shape=())
                graph.set_operand(node, position, lifted[number])
                current_report().rewrote("a number = an operand", [node], node.results)


def _numbers(node: Node) -> list[Place]:
    """The operands of a node that are numbers, and may be others."""
    if not node.op.elementwise or node.op.work > CHEAP:
        return []
    return [(node, at, v) for at, v in enumerate(node.operands)
            if isinstance(v, Constant) and v.type.rank == 0 and v.data is not None and not v.dtype.is_bool]
