"""Graphs as Mermaid flowcharts, which GitHub, GitLab and notebooks draw in Markdown: one subgraph a scope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..ir.file_formats import format
from ..ir.folding import Fold, Thing
from ..ir.folding import fold as fold_graph
from ..ir.graph import Graph
from ..ir.values import Constant, Node, Parameter, Value
from .disk import replacing
from .labels import value_label
from .outline import Closes, Opens, edge_label, edges, outline
from .single import single_graph

MOST_EDGES, MOST_TEXT = 500, 50_000  # Mermaid draws no more edges or characters, unless the page that shows them allows it


@format(".mmd")
class MermaidFormat:
    """Mermaid flowcharts, for Markdown."""

    @staticmethod
    def write(obj: Any, path: Path, *, graph: str | None = None, parameters: bool = False, fold: Fold | None = None) -> None:
        """Write one graph (of a program: by name); with or without parameters and constants.

        fold: as of `text`; by default, graphs that are larger than Mermaid draws are folded.
        """
        with replacing(path) as file:
            file.write(to_mermaid(single_graph(obj, graph), parameters=parameters, fold=fold).encode())


def to_mermaid(graph: Graph, *, parameters: bool = False, fold: Fold | None = None) -> str:
    """A flowchart of the nodes, from top to bottom; edges are labelled with types. `fold` is as in `MermaidFormat.write`."""
    if fold is not None:
        return _flowchart(graph, fold, parameters)
    whole = _flowchart(graph, False, parameters)
    large = whole.count(" -->") > MOST_EDGES or len(whole) > MOST_TEXT
    return _flowchart(graph, True, parameters) if large else whole


def _flowchart(graph: Graph, how: Fold, parameters: bool) -> str:
    view = fold_graph(graph, how)
    ids: dict[Value | Thing, str] = {}
    lines = ["---", f"title: {_title(graph.name)}", "---", "flowchart TB"]
    for i, given in enumerate(graph.inputs):
        ids[given] = f"i{i}"
        lines.append(f'  i{i}(["{_text(value_label(given))}"]):::input')
    depth = opened = 0
    for step in outline(view):
        indent = "  " * (depth + 1)
        if isinstance(step, Opens):
            lines.append(f'{indent}subgraph s{opened}["{_text(step.title)}"]')
            depth, opened = depth + 1, opened + 1
        elif isinstance(step, Closes):
            depth -= 1
            lines.append(f"{'  ' * (depth + 1)}end")
        else:
            ids[step.thing] = f"n{len(ids)}"
            left, right, kind = ("(", ")", "") if isinstance(step.thing, Node) else ("[[", "]]", ":::closed")
            lines.append(f'{indent}{ids[step.thing]}{left}"{_text(step.label)}"{right}{kind}')
    outputs = {name: f"o{i}" for i, (name, _) in enumerate(view.outputs)}
    lines += [f'  {place}(["{_text(name)}"]):::output' for name, place in outputs.items()]
    for source, value, reader in edges(view):
        if isinstance(value, (Parameter, Constant)) and source not in ids:
            if not parameters or (isinstance(value, Constant) and not value.type.rank):
                continue
            ids[source] = f"p{len(ids)}"
            lines.append(f'  {ids[source]}[/"{_text(value_label(value))}"/]:::parameter')
        label = edge_label(value)
        arrow = f'-->|"{_text(label)}"|' if label else "-->"
        lines.append(f"  {ids[source]} {arrow} {outputs[reader] if isinstance(reader, str) else ids[reader]}")
    lines += ["  classDef input fill:#dbeafe,stroke:#2563eb", "  classDef output fill:#dcfce7,stroke:#16a34a",
              "  classDef parameter fill:#fef3c7,stroke:#d97706", "  classDef closed fill:#e2e8f0,stroke:#475569"]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A label between quotes, not empty: what Mermaid, Markdown or HTML would read as their own is written as an entity."""
    lines = ["".join(c if c.isalnum() or c in " .,:=_-+/()[]" else f"#{ord(c)};" for c in line) for line in text.split("\n")]
    return "<br/>".join(lines) or " "


def _title(name: str) -> str:
    """A name as a string of YAML."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in name) + '"'


