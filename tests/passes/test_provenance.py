"""What stands in the place of nodes knows all that it came from: held to in every golden case."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import tgraph as tg
from passes.pipelines import parse_pipeline
from passes.rewriting import RewriteReport, reporting
from tgraph.ir.location import Location, Provenance
from tgraph.ir.values import Node, Value

sys.path.insert(0, str(Path(__file__).parent))

from golden import FOLDER, Case, cases

CASES = [c for c in cases() if not c.unchanged]


@dataclass
class Watching(RewriteReport):
    """Looks at each rewrite as it is reported. `lost` are old nodes whose scope or line none of those just made has."""

    graph: tg.Graph = field(default_factory=tg.Graph)
    known: set[Node] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    def rewrote(self, rule: str, old: Sequence[Node] = (), new: Sequence[Value] = ()) -> None:
        super().rewrote(rule, old, new)
        made = [n for n in self.graph.nodes if n not in self.known]
        self.known.update(made)
        told = Provenance.merge(n.provenance for n in made)
        for node in old if made else ():  # nothing is made for x + 0 = x
            if not (set(node.provenance.scopes) <= set(told.scopes) and set(node.provenance.locations) <= set(told.locations)):
                self.lost.append(f"{rule}: {node.op.name} {node.provenance.describe()} is not in {told.describe()}")


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c.path.relative_to(FOLDER).with_suffix("")))
def test_new_nodes_know_the_old_ones(case: Case) -> None:
    graph = tg.parse(case.before)
    for number, node in enumerate(graph.nodes):
        node.provenance = Provenance((f"scope{number}",), (Location("model.py", number + 1),))
    for step in parse_pipeline(case.pipeline):
        report = Watching(graph=graph, known=set(graph.nodes))
        with reporting(report):
            step.apply(graph)
        assert report.lost == []
