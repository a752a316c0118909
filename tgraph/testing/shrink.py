"""A failure as small as it gets: fewer nodes, then smaller axes, while the same kind of thing stays wrong."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import tgraph as tg
from passes.debug.reduction import Reducer
from tgraph.ir.errors import PassError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.testing.findings import Finding
from tgraph.testing.worker import Job, Pool, ways_of


@dataclass
class Small:
    """What a failure has become."""

    text: str
    nodes: int
    finding: Finding
    tried: int

    @property
    def ops(self) -> tuple[str, ...]:
        return tuple(sorted({n.op.name for n in tg.parse(self.text).nodes}))


def shrink(text: str, seed: int, finding: Finding, pool: Pool, seconds: float = 120.0) -> Small:
    """The smallest program found in that time that fails in the same way with feeds of the same seed."""
    deadline = time.monotonic() + seconds
    seen = finding

    def fails(candidate: Graph) -> bool:
        nonlocal seen
        if time.monotonic() > deadline:
            return False
        try:
            shown = str(candidate)
            if tg.parse(shown) != candidate:
                return finding.kind == "changed"
        except TGraphError:
            return False
        outcome = pool.ask(Job(seed, shown, ways_of(finding)))
        alike = [f for f in outcome.findings if f.key == finding.key]
        seen = alike[0] if alike else seen
        return bool(alike)

    graph = tg.parse(text)
    search = Reducer(graph, fails)
    try:
        graph = search.run()
    except PassError:  # it does not fail again: it depends on what the process did before, or on time
        return Small(text, len(graph), finding, search.tried)
    tried = search.tried
    for smaller in narrowed(str(graph)):
        tried += 1
        if fails(smaller):
            graph = smaller
            break
    return Small(str(graph), len(graph), seen, tried)


def narrowed(text: str) -> list[Graph]:
    """The program with each axis of the larger static sizes made 2 or 3 everywhere, where that is still a program."""
    shapes = re.findall(r"\[([^\]=%#@]*)\]", text)
    sizes = sorted({int(n) for shape in shapes for n in re.findall(r"\b\d+\b", shape)} - {0, 1, 2, 3})
    found = []
    for number in (2, 3):
        changed = re.sub(r"\b(" + "|".join(map(str, sizes)) + r")\b(?=[^\[\]()]*\])", str(number), text) if sizes else text
        if changed == text:
            continue
        try:
            graph = tg.parse(changed)
            tg.verify(graph)
        except TGraphError:
            continue
        found.append(graph)
    return found
