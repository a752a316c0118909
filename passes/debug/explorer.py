"""The explorer's page of a graph in a pipeline: every rewrite of every pass, near misses, and what stayed unfused."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

from passes.debug.fusions import fused
from passes.debug.history import History, Stage, record
from passes.pipelines import Pipeline
from tgraph.formats.html import Document, GraphEntry, write_page
from tgraph.formats.html.entries import shown_path
from tgraph.ir.errors import GraphError
from tgraph.ir.graph import Graph
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.ir.program import Program
from tgraph.ir.values import Node

Overlays = Mapping[str, Mapping[Node, float]]


def write(obj: Graph | Program, path: Path, *, pipeline: Pipeline = DEFAULT_LEVEL, sizes: Mapping[str, int] | None = None,
          overlays: Overlays | None = None, title: str = "") -> None:
    """Write the page of a graph or program in a pipeline. Raises PassError as `optimize` does, GraphError for unknown nodes."""
    check_overlays(obj, overlays or {})
    document = document_of(obj, pipeline, sizes, title)
    for entry, graph in zip(document.graphs, obj.named_graphs().values()):
        entry.overlays_of_first(graph, overlays or {})
    write_page(document, path)


def check_overlays(obj: Graph | Program, overlays: Overlays) -> None:
    """Raises GraphError for numbers of nodes that are in none of the graphs."""
    for name, values in overlays.items():
        for node in values:
            if not any(node in graph for graph in obj.named_graphs().values()):
                raise GraphError(f"overlay {name!r} has a number for {node.op.name} {node.provenance.describe()}".rstrip()
                                 + f", which is no node of {', '.join(obj.named_graphs())}; passes and copies make other nodes")


def document_of(obj: Graph | Program, pipeline: Pipeline = DEFAULT_LEVEL, sizes: Mapping[str, int] | None = None,
                title: str = "") -> Document:
    """The document of a graph, or of each graph of a program, in a pipeline. Raises PassError as `optimize` does."""
    document = Document.of(obj, sizes, title)
    for name, graph in obj.named_graphs().items():
        add_history(document.add(graph, name), record(graph, pipeline))
    return document


def add_history(entry: GraphEntry, history: History) -> None:
    """Tell a document's graph its history."""
    entry.begin_with(history.first, history.operands, history.outputs)
    for stage in history.stages:
        _add_stage(entry, stage)
    if history.last is not None:
        lines = [line for found in fused(history.last) for line in (str(found), *found.misses())]
        entry.more["apart"] = [_with_shown_paths(line, history.last) for line in lines]


def _with_shown_paths(line: str, graph: Graph) -> str:
    """A line in which files are named as the page names them, not by their places on this machine."""
    files = {place.file for node in graph.nodes for place in node.provenance.locations}
    for file in sorted(files, key=lambda file: (-len(file), file)):  # one may end as another
        line = line.replace(file, shown_path(file))
    return line


def _add_stage(entry: GraphEntry, stage: Stage) -> None:
    record = stage.record
    about = (inspect.getdoc(type(stage.step)) or "").split("\n\n", 1)[0].replace("\n", " ")
    entry.stage(record.name, stage.step.effect, about, seconds=record.seconds, before=record.nodes_before,
                after=record.nodes_after, changed=record.changed, attempts=record.attempts,
                misses=[(m.rule, m.root, m.matched, m.at, m.reason) for m in stage.misses],
                steps=[(step.rule, step.changes, *step.became) for step in stage.steps])
