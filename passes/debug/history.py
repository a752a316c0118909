"""The history of a graph through a pipeline: every rewrite with what it added, erased and made to read something else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from passes.base import Pass
from passes.manager import Instrument, PassManager, PassRecord
from passes.matching import Miss
from passes.pipelines import Pipeline
from passes.rewriting import Rewrite, RewriteReport
from tgraph.ir.graph import Graph
from tgraph.ir.journal import Added, Change, Erased
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.ir.values import Node, Result, Value


@dataclass(frozen=True)
class Step:
    """One rewrite of a pass, by the rule that made it: its changes of nodes and outputs, in order.

    `became` says which nodes took the place of which: all that it replaced became all that it made. `rule` is "" for what a pass
    changes beside its rewrites.
    """

    rule: str
    changes: tuple[Change, ...]
    old: tuple[Node, ...] = ()
    new: tuple[Value, ...] = ()

    @property
    def added(self) -> list[Node]:
        """The nodes that are there after the rewrite and were not before it."""
        gone = set(self._erased())
        return [c.node for c in self.changes if isinstance(c, Added) and c.node not in gone]

    @property
    def erased(self) -> list[Node]:
        """The nodes that were there before the rewrite and are not after it."""
        made = {c.node for c in self.changes if isinstance(c, Added)}
        return [node for node in self._erased() if node not in made]

    @property
    def became(self) -> tuple[list[Node], list[Node]]:
        """The nodes that were rewritten, and those that stand for them now."""
        before = list(dict.fromkeys((*self.old, *self.erased)))
        made = {v.node: None for v in self.new if isinstance(v, Result)}
        return before, list(dict.fromkeys((*self.added, *made)))

    def _erased(self) -> list[Node]:
        return [c.node for c in self.changes if isinstance(c, Erased)]


@dataclass(frozen=True)
class Stage:
    """What one pass did: its record, its steps, and the nearest misses of its rules; the graph's outputs after it."""

    step: Pass
    record: PassRecord
    steps: tuple[Step, ...]
    misses: tuple[Miss, ...]
    outputs: tuple[tuple[str, Value], ...]


@dataclass
class History:
    """What became of each node of a graph in a pipeline of passes.

    first: the nodes before the first pass, `outputs` likewise. stages: one a pass, also of those that changed nothing. last: the
    graph after all of them. Nodes are those of one graph that the passes rewrote: a copy of the one that they were given.
    """

    name: str
    first: list[Node] = field(default_factory=list)
    operands: dict[Node, tuple[Value | None, ...]] = field(default_factory=dict)
    outputs: tuple[tuple[str, Value], ...] = ()
    stages: list[Stage] = field(default_factory=list)
    last: Graph | None = None

    def steps(self) -> list[tuple[Stage, Step]]:
        """All rewrites in order, each with its pass."""
        return [(stage, step) for stage in self.stages for step in stage.steps]

    def became(self, nodes: Iterable[Node]) -> list[tuple[Stage, Step]]:
        """The rewrites that touched these nodes, or what had become of them, in order."""
        alive = set(nodes)
        found = []
        for stage, step in self.steps():
            before, after = step.became
            if not alive.isdisjoint(before):
                found.append((stage, step))
                alive.difference_update(step.erased)
                alive.update(after)
        return found

    def descendants(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes of the last graph that these became; they themselves where nothing rewrote them."""
        wanted = list(nodes)
        reached = {*wanted, *(n for _, step in self.became(wanted) for n in step.became[1])}
        return [n for n in self.final if n in reached]

    def led_to(self, nodes: Iterable[Node]) -> list[tuple[Stage, Step]]:
        """The rewrites that made these nodes, or what became them, in order."""
        reached = set(nodes)
        found = []
        for stage, step in reversed(self.steps()):
            before, after = step.became
            if not reached.isdisjoint(after):
                found.append((stage, step))
                reached.difference_update(step.added)
                reached.update(before)
        return found[::-1]

    def origins(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes of the first graph that became these; they themselves where nothing rewrote them."""
        wanted = list(nodes)
        reached = {*wanted, *(n for _, step in self.led_to(wanted) for n in step.became[0])}
        return [n for n in self.first if n in reached]

    @property
    def final(self) -> list[Node]:
        """The nodes after the last pass, in order."""
        return [] if self.last is None else self.last.nodes


class Recorder(Instrument):
    """Records the history of a graph while a pipeline runs on it."""

    def __init__(self) -> None:
        self.history: History = History("")
        self._journal: list[Change] = []
        self._steps: list[Step] = []

    def start(self, graph: Graph) -> None:
        nodes = graph.nodes
        self.history = History(graph.name, nodes, {n: n.operands for n in nodes}, tuple(graph.outputs), last=graph)
        self._journal = graph.journal = []

    def rewrote(self, step: Pass, graph: Graph, rewrite: Rewrite) -> None:
        self._close(rewrite.rule, rewrite.old, rewrite.new)

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        self._close("")
        self.history.stages.append(Stage(step, record, tuple(self._steps), tuple(report.misses.values()), tuple(graph.outputs)))
        self._steps = []

    def finish(self, graph: Graph) -> None:
        graph.journal = None

    def _close(self, rule: str, old: tuple[Node, ...] = (), new: tuple[Value, ...] = ()) -> None:
        """All changes since the last step are one; a rewrite of a function that the graph calls is none of the graph's."""
        if self._journal:
            self._steps.append(Step(rule, tuple(self._journal), old, new))
            self._journal.clear()


def record(graph: Graph, pipeline: Pipeline = DEFAULT_LEVEL) -> History:
    """Run a pipeline on a copy of a graph and record each rewrite. Raises PassError as `optimize` does."""
    recorder = Recorder()
    PassManager(pipeline, [recorder]).run(graph)
    return recorder.history
