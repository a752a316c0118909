"""Decomposition of composite ops into simpler ones."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from tgraph.ir.builder import RecordingBuilder, take_apart
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph
from tgraph.ir.registry import OPS


@register_pass
@dataclass(frozen=True)
class Decompose(Pass):
    """softmax, layer_norm, gelu, attention, linear, ... = their definitions, down to primitives.

    `ops` names the ops to decompose, joined by `+` (`softmax+gelu`); all composite ops by default.
    """

    effect = "rounds"
    moves_excluded = True
    enters_functions = True
    ops: str = ""

    def apply(self, graph: Graph) -> None:
        chosen = self._chosen()
        report = current_report()
        pending = list(reversed(graph.nodes))
        while pending:
            node = pending.pop()
            if node.op.decompose is None or (chosen and node.op.name not in chosen):
                continue
            b = RecordingBuilder(graph, node.provenance)
            new = take_apart(b, node, node.op.decompose)
            for old, value in zip(node.results, new):
                graph.replace(old, value)
            graph.erase(node)
            report.rewrote(f"{node.op.name} = its definition", (node,), new)
            pending.extend(reversed(b.nodes))

    def _chosen(self) -> set[str]:
        names = {n.strip() for n in self.ops.split("+") if n.strip()}
        composites = [n for n, op in OPS.items() if op.decompose is not None]
        for name in sorted(names):
            if name in OPS and OPS[name].decompose is None:
                raise PassError(f"decompose: {name} is a primitive")
            if name not in OPS:
                near = difflib.get_close_matches(name, composites, n=3) or sorted(composites)
                raise PassError(f"decompose: no op {name!r}; composites: {', '.join(near)}")
        return names
