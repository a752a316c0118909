"""Instruments that show what a pipeline does: graphs before and after passes, dumps, costs, nearest misses of rules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from passes.base import Pass
from passes.manager import Instrument, PassRecord
from passes.matching import Miss
from passes.rewriting import RewriteReport
from tgraph.ir.analysis import prepared
from tgraph.ir.dims import DimLike, substitute
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph

Show = Callable[[str, Graph], None]  # called with a title and the graph


@dataclass
class Print(Instrument):
    """Shows the graph before and after the passes with the given names; None stands for all."""

    show: Show
    before_passes: Collection[str] | None = ()
    after_passes: Collection[str] | None = ()

    def before(self, step: Pass, graph: Graph) -> None:
        if self.before_passes is None or step.pass_name() in self.before_passes:
            self.show(f"before {step}", graph)

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        if self.after_passes is None or step.pass_name() in self.after_passes:
            self.show(f"after {step}{'' if record.changed else ' (no change)'}", graph)


@dataclass
class DumpFolder(Instrument):
    """Writes the graph to numbered .tg files: `00-input.tg`, then one for each pass, `01-fold-constants.tg`.

    The parameters' data is not written. Raises PassError if the folder already has numbered .tg files.
    """

    folder: Path
    written: list[Path] = field(default_factory=list)

    def start(self, graph: Graph) -> None:
        found = sorted(self.folder.glob("[0-9][0-9]*-*.tg"))
        if found and not self.written:  # else they are those of the program's graphs before this one
            raise PassError(f"{self.folder} holds the graphs of another run ({found[0].name}, ...); choose another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write("input", graph)

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        self._write(step.pass_name(), graph)

    def _write(self, name: str, graph: Graph) -> None:
        path = self.folder / f"{len(self.written):02}-{name}.tg"
        graph.dump(path, weights=False)
        self.written.append(path)


@dataclass(frozen=True)
class Cost:
    """The cost of one call of a graph: floating-point operations, and the bytes that its nodes read and write.

    `nodes` are all nodes; those of the prepare part run once and not in a call, so they cost nothing.
    """

    nodes: int
    flops: DimLike
    nbytes: DimLike

    @classmethod
    def of(cls, graph: Graph, sizes: Mapping[str, int] | None = None) -> Cost:
        """The cost of a graph at `sizes`; dims without a size stay symbolic."""
        flops: DimLike = 0
        nbytes: DimLike = 0
        parameter_only = prepared(graph)
        for node in graph.nodes:
            if node in parameter_only:
                continue
            flops = flops + node.flops
            nbytes = nbytes + node.nbytes
        known = dict(sizes or {})
        return cls(len(graph), substitute(flops, known), substitute(nbytes, known))


@dataclass
class Deltas(Instrument):
    """The cost of the graph before and after each pass; `rows` has the name of each pass and both costs."""

    sizes: Mapping[str, int] | None = None
    rows: list[tuple[str, Cost, Cost]] = field(default_factory=list)
    _last: Cost | None = None

    def start(self, graph: Graph) -> None:
        self._last = Cost.of(graph, self.sizes)

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        assert self._last is not None
        cost = Cost.of(graph, self.sizes) if record.changed else self._last
        self.rows.append((str(step), self._last, cost))
        self._last = cost


@dataclass(frozen=True)
class Explanation:
    """One rule in one pass: how often it fired, and its nearest miss."""

    step: str
    rule: str
    fired: int
    miss: Miss | None

    def __str__(self) -> str:
        times = {0: "never", 1: "once"}.get(self.fired, f"{self.fired} times")
        text = f"{self.rule}: {times}"
        if self.miss is not None:
            text += f"; nearest miss: {str(self.miss).removeprefix(f'{self.miss.rule}: ')}"
        return text


@dataclass
class Explain(Instrument):
    """For each rule of each pass, how often it fired, and its nearest miss: how many nodes matched, and why no more did."""

    rows: list[Explanation] = field(default_factory=list)

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        rules = dict.fromkeys([*report.rewrites, *report.misses])
        self.rows += [Explanation(str(step), r, report.rewrites.get(r, 0), report.misses.get(r)) for r in rules]
