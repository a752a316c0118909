"""What a workload is: one graph, timed at several points for tgraph and the other runtimes."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.conditions import watched
from benchmarks.harness.job import WEIGHTS, Feeds, Job
from benchmarks.harness.lineup import Entry, lineup
from benchmarks.harness.report import real_tokens, save_feeds
from benchmarks.harness.turns import Arrange, compare, flat
from benchmarks.machine import Machine, Probe
from benchmarks.records import OURS, Record, Row
from benchmarks.work import least_bytes, product_flops
from tgraph.formats import save_safetensors
from tgraph.ir.graph import Graph
from tgraph.reference.inputs import choose_sizes

Plans = Mapping[str, Sequence[Feeds]]
# what tgraph and the peers do in half or a quarter of the bits: name, runtime, fields of its Job
REDUCED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("tgraph bf16", "tgraph", {"precision": "bf16"}),
    ("tgraph bf16 weights", "tgraph", {"weights": "bf16"}),
    ("tgraph f16 weights", "tgraph", {"weights": "f16"}),
    ("tgraph i8 weights", "tgraph", {"weights": "i8"}),
    ("onnxruntime i8", "onnxruntime", {"precision": "i8"}),
    ("openvino bf16", "openvino", {"precision": "bf16"}),
    ("openvino i8", "openvino", {"precision": "i8"}),
    ("torch bf16", "torch", {"precision": "bf16"}),
    ("torch i8", "torch", {"precision": "i8"}),
    ("ctranslate2 i8", "ctranslate2", {"precision": "i8"}),
)


@dataclass(frozen=True)
class Setup:
    """How to run: the peers by name, threads of each contender, rounds (None: as the points say), whom to tell what.

    machine: as measured at first; probe: what measures it again. busy: other programs compute too.
    """

    machine: Machine
    probe: Probe
    peers: Sequence[str]
    rounds: int | None
    busy: bool
    progress: Callable[[str], None]
    complain: Callable[[str], None]

    @property
    def threads(self) -> int:
        return self.machine.threads


@dataclass(frozen=True)
class Point:
    """Inputs in one or more plans, and the work that they are."""

    plans: Plans
    flops: float
    bytes: float
    arrange: Arrange = flat


def at_sizes(graph: Graph, sizes: Mapping[str, int]) -> Point:
    """Generated inputs without padding."""
    chosen = choose_sizes(graph, sizes)
    return Point({"": [real_tokens(graph, chosen)]}, product_flops(graph, chosen), least_bytes(graph, chosen))


@dataclass(frozen=True, kw_only=True)
class Workload(ABC):
    """points: names, with how many rounds each takes; quick: those of a quick run. memory: its tables show that, too."""

    name: str
    title: str
    points: Mapping[str, int]
    quick: Sequence[str] = ()
    memory: bool = False

    @abstractmethod
    def measure(self, setup: Setup, points: Sequence[str]) -> Iterator[Record]:
        """A record for each of the points."""


@dataclass(frozen=True, kw_only=True)
class ModelWorkload(Workload):
    """Calls of one model. `point(graph, name)` makes a point, `peer()` a Job's peer. reduced: in fewer bits."""

    graph: Callable[[], Graph]
    peer: Callable[[], dict[str, Any] | None]
    point: Callable[[Graph, str], Point]
    passes: str | None = None
    reduced: bool = False

    def measure(self, setup: Setup, points: Sequence[str]) -> Iterator[Record]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            setup.progress(f"{self.name}: writing the model")
            graph = self.graph()
            model = save_model(graph, folder)
            job = Job(str(model), name, setup.threads, peer=self.peer(), passes=self.passes)
            refused: dict[str, str] = {}
            entries = self.entries(job, setup)
            with lineup(entries, folder, setup.busy, setup.progress, refused.__setitem__) as contenders:
                notes = {c.name: c.note for c in contenders}
                for point_name in points:
                    yield self._point(graph, point_name, setup, folder, contenders, notes, refused)

    def entries(self, job: Job, setup: Setup) -> list[Entry]:
        """Who takes part: tgraph first."""
        if not self.reduced:
            return [Entry(name, name, job) for name in (OURS, *setup.peers)]
        return [Entry(OURS, OURS, job), *(Entry(name, runtime, replace(job, **options)) for name, runtime, options in REDUCED
                                          if runtime in (OURS, *setup.peers))]

    def _point(self, graph: Graph, name: str, setup: Setup, folder: Path, contenders: Sequence[Any],
               notes: Mapping[str, str], refused: Mapping[str, str]) -> Record:
        point = self.point(graph, name)
        files = {plan: [save_feeds(folder / f"{number}-{batch}.npz", feeds) for batch, feeds in enumerate(batches)]
                 for number, (plan, batches) in enumerate(point.plans.items())}
        with watched(setup.probe, contenders) as conditions:
            results = compare(contenders, files, folder, setup.rounds or self.points[name],
                              lambda text: setup.progress(f"{self.name} {name}: {text}"), setup.complain, point.arrange)
            conditions.saw(results)
        return Record(self.name, name, conditions.machine, [Row.of(result, notes[result.name]) for result in results],
                      point.flops, point.bytes, dict(refused), date.today().isoformat(), True, conditions.disturbed)


def save_model(graph: Graph, folder: Path) -> Path:
    """The graph where contenders look for it, and its weights beside it."""
    model = folder / WEIGHTS.replace(".safetensors", ".tg")
    graph.save(model)
    if not graph.parameters:
        save_safetensors(folder / WEIGHTS, {})
    return model


