"""Splits as slices, which kernels read through."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike
from tgraph.ir.graph import Graph


@register_pass
@dataclass(frozen=True)
class SplitToSlices(Pass):
    """a, b = split(x) = slice(x), slice(x): each part a view of its own, which its reader may read through."""

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        for node in [n for n in graph.nodes if n.op.name == "split"]:
            b = Builder(graph, node.provenance)
            axis, x = node.attrs["axis"], node.inputs[0]
            start: DimLike = 0
            parts = []
            for result, size in zip(node.results, node.attrs["sizes"]):
                if result.uses or graph.is_output(result):
                    parts.append(b.slice(x, starts=(start,), stops=(start + size,), axes=(axis,)))
                    graph.replace(result, parts[-1])
                start = start + size
            graph.erase(node)
            current_report().rewrote("split(x) = slice(x), slice(x)", [node], parts)
