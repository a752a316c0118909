"""Fusion of several projections of one input, such as q, k and v, into one product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from passes.base import Pass, register_pass
from passes.products import PROJECTIONS, Projection, missed, projection
from passes.rewriting import current_report, erase_dead
from tgraph.ir.analysis import prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Value

RULE = "x W1^T, ..., x Wn^T = split(x concat(W1, ..., Wn)^T)"


@register_pass
@dataclass(frozen=True)
class FuseQKV(Pass):
    """x Wq^T, x Wk^T, x Wv^T = split(x concat(Wq, Wk, Wv)^T), with the biases likewise.

    Joins the products of one value with parameter-only weights, if there are `at_least` so many: query, key and value; key
    and value of cross-attention; gate and up of a gated feed-forward network. The widths may differ; a product without
    a bias gets zeros if another one has a bias. A joined product has at most `widest` columns (0: no limit). Ordinary nodes
    of the prepare part concatenate the weights; the parameters keep their names and shapes.
    """

    effect = "rounds"
    enters_functions = True
    at_least: int = 2
    widest: int = 0

    def apply(self, graph: Graph) -> None:
        parameter_only = prepared(graph)
        groups: dict[Value, list[Projection]] = {}
        for node in graph.nodes:
            if node.op.name not in PROJECTIONS or node in parameter_only:
                continue
            found = projection(graph, node, parameter_only)
            if isinstance(found, str):
                missed(RULE, node, found)
            else:
                groups.setdefault(found.x, []).append(found)
        for together in groups.values():
            for members in self._parts(together):
                if len(members) >= max(self.at_least, 2):
                    current_report().rewrote(RULE, [n for m in members for n in m.nodes], _join(graph, members))
                else:
                    within = f" within {self.widest} columns" if self.widest else ""
                    missed(RULE, members[0].nodes[0],
                           f"{len(members)} products read its input, of {max(self.at_least, 2)} asked for{within}")

    def _parts(self, together: Sequence[Projection]) -> Iterator[list[Projection]]:
        """Groups of projections, in order, of at most `widest` columns each."""
        run: list[Projection] = []
        for member in together:
            if run and self.widest and sum(_width(m) for m in (*run, member)) > self.widest:
                yield run
                run = []
            run.append(member)
        yield run


def _width(member: Projection) -> int:
    width = member.result.shape[-1]
    assert isinstance(width, int)  # prepared weights have static shapes
    return width


def _join(graph: Graph, members: Sequence[Projection]) -> Sequence[Value]:
    """Replace projections by one `linear` and a split, and return its parts."""
    b = Builder(graph, Provenance.merge(m.provenance for m in members))
    weight = b.concat(*[m.weight_rows(b) for m in members], axis=0)
    bias = None
    if any(m.bias is not None for m in members):
        zeros = [b.constant(np.zeros(_width(m), m.x.dtype.numpy)) if m.bias is None else m.bias for m in members]
        bias = b.concat(*zeros, axis=0)
    x = members[0].nodes[-1].operands[0]  # an earlier join may have replaced what it was
    parts: tuple[Value, ...] = b.split(b.linear(x, weight, bias), sizes=tuple(map(_width, members)), axis=-1)
    for member, part in zip(members, parts):
        graph.replace(member.result, part)
        erase_dead(graph, member.nodes)
    return parts
