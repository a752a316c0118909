"""Removal of outputs that nobody needs."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from passes.transforms.dce import Dce
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph


@register_pass
@dataclass(frozen=True)
class RemoveDeadOutputs(Pass):
    """Drop the outputs that are not in `keep` (names separated by ;), and the nodes that only they needed.

    The other outputs stay as they are, and so do all inputs, so that callers need no change. Without `keep` nothing is dropped.
    """

    effect = "changes-meaning"
    keep: str = ""

    def apply(self, graph: Graph) -> None:
        wanted = [name.strip() for name in self.keep.split(";") if name.strip()]
        if not wanted:
            return
        known = [name for name, _ in graph.outputs]
        for name in wanted:
            if name not in known:
                raise PassError(f"graph {graph.name} has no output {name!r}; its outputs: {', '.join(known)}")
        dropped = [name for name in known if name not in wanted]
        for name in dropped:
            graph.set_outputs([(n, v) for n, v in graph.outputs if n != name])
            current_report().rewrote(f"drop output {name}")
        if dropped:
            Dce().apply(graph)
