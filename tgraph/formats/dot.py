"""Graphs in Graphviz's DOT language, one cluster a scope, for layout by other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..ir.file_formats import format
from ..ir.folding import Fold, Folded, Thing
from ..ir.folding import fold as fold_graph
from ..ir.graph import Graph
from ..ir.names import quote
from ..ir.values import Constant, Node, Parameter, Value
from .disk import replacing
from .labels import closed_tooltip, node_tooltip, value_label
from .outline import Closes, Opens, edge_label, edges, outline
from .single import single_graph


@format(".dot")
class DotFormat:
    """Graphviz's DOT language."""

    @staticmethod
    def write(obj: Any, path: Path, *, graph: str | None = None, parameters: bool = True, fold: Fold = False) -> None:
        """Write one graph (of a program: by name); with or without the parameters as boxes of their own, folded as `text` is."""
        with replacing(path) as file:
            file.write(to_dot(single_graph(obj, graph), parameters=parameters, fold=fold).encode())


def to_dot(graph: Graph, *, parameters: bool = True, fold: Fold = False) -> str:
    """A digraph of the nodes, grouped by scope; edges are labelled with the type of the value."""
    view = fold_graph(graph, fold)
    lines = [f"digraph {quote(graph.name)} {{",
             '  graph [rankdir=TB, fontname="Helvetica", labeljust=l, color="#c8ccd4", style=rounded];',
             '  node [shape=box, style="rounded,filled", fillcolor="#ffffff", fontname="Helvetica", fontsize=11];',
             '  edge [fontname="Courier", fontsize=9, color="#5b6472"];']
    ids: dict[Value | Thing, str] = {}
    for i, input in enumerate(graph.inputs):
        ids[input] = f"i{i}"
        lines.append(f'  i{i} [shape=oval, fillcolor="#dbeafe", label={quote(f"{input.name}: {input.type}")}];')
    shown = [v for thing, values in view.reads.items() if isinstance(thing, Node) for v in values
             if isinstance(v, Parameter) or (isinstance(v, Constant) and v.type.rank)]
    for i, leaf in enumerate(dict.fromkeys(shown) if parameters else ()):
        ids[leaf] = f"p{i}"
        lines.append(f'  p{i} [shape=note, fillcolor="#fef3c7", label={quote(value_label(leaf))}];')
    lines += _clusters(view, ids)
    outputs = {name: f"o{i}" for i, (name, _) in enumerate(view.outputs)}
    lines += [f'  {place} [shape=oval, fillcolor="#dcfce7", label={quote(name)}];' for name, place in outputs.items()]
    for source, value, reader in edges(view):
        if source in ids:
            end = outputs[reader] if isinstance(reader, str) else ids[reader]
            lines.append(f"  {ids[source]} -> {end} [label={quote(edge_label(value))}];")
    return "\n".join([*lines, "}"]) + "\n"


def _clusters(view: Folded, ids: dict[Value | Thing, str]) -> list[str]:
    lines: list[str] = []
    depth = 0
    for step in outline(view):
        indent = "  " * (depth + 1)
        if isinstance(step, Opens):
            lines += [f"{indent}subgraph {quote(f'cluster_{step.path}')} {{", f"{indent}  label={quote(step.title)};"]
            depth += 1
        elif isinstance(step, Closes):
            depth -= 1
            lines.append(f"{'  ' * (depth + 1)}}}")
        else:
            ids[step.thing] = f"n{len(ids)}"
            node = isinstance(step.thing, Node)
            details = node_tooltip(step.thing) if isinstance(step.thing, Node) else closed_tooltip(step.thing)
            style = "" if node else 'fillcolor="#e2e8f0", '
            lines.append(f"{indent}{ids[step.thing]} [{style}label={quote(step.label)}, tooltip={quote(details)}];")
    return lines
