"""Graphs in Graphviz's DOT language, one cluster a scope, for layout by other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..ir.file_formats import format
from ..ir.graph import Graph
from ..ir.names import quote
from ..ir.values import Constant, Node, Parameter, Result, Value
from .disk import replacing
from .labels import node_label, node_tooltip, value_label
from .single import single_graph


@format(".dot")
class DotFormat:
    """Graphviz's DOT language."""

    @staticmethod
    def write(obj: Any, path: Path, *, graph: str | None = None, parameters: bool = True) -> None:
        """Write one graph (of a program: by name); with or without the parameters as boxes of their own."""
        with replacing(path) as file:
            file.write(to_dot(single_graph(obj, graph), parameters=parameters).encode())


def to_dot(graph: Graph, *, parameters: bool = True) -> str:
    """A digraph of the nodes, grouped by scope; edges are labelled with the type of the value."""
    nodes = graph.nodes
    ids: dict[Value | Node, str] = {n: f"n{i}" for i, n in enumerate(nodes)}
    lines = [f"digraph {quote(graph.name)} {{",
             '  graph [rankdir=TB, fontname="Helvetica", labeljust=l, color="#c8ccd4", style=rounded];',
             '  node [shape=box, style="rounded,filled", fillcolor="#ffffff", fontname="Helvetica", fontsize=11];',
             '  edge [fontname="Courier", fontsize=9, color="#5b6472"];']
    for i, input in enumerate(graph.inputs):
        ids[input] = f"i{i}"
        lines.append(f'  i{i} [shape=oval, fillcolor="#dbeafe", label={quote(f"{input.name}: {input.type}")}];')
    shown = [v for n in nodes for v in n.inputs
             if isinstance(v, Parameter) or (isinstance(v, Constant) and v.type.rank)]
    for i, leaf in enumerate(dict.fromkeys(shown) if parameters else ()):
        ids[leaf] = f"p{i}"
        lines.append(f'  p{i} [shape=note, fillcolor="#fef3c7", label={quote(value_label(leaf))}];')
    lines += _clusters(nodes, ids)
    for node in nodes:
        for position, operand in enumerate(node.operands):
            source = operand.node if isinstance(operand, Result) else operand
            if operand is not None and source in ids:
                name = node.op.operands[min(position, len(node.op.operands) - 1)].name
                lines.append(f"  {ids[source]} -> {ids[node]} [label={quote(_edge(operand))}, tooltip={quote(name)}];")
    for i, (name, value) in enumerate(graph.outputs):
        source = value.node if isinstance(value, Result) else value
        lines.append(f'  o{i} [shape=oval, fillcolor="#dcfce7", label={quote(name)}];')
        if source in ids:
            lines.append(f"  {ids[source]} -> o{i} [label={quote(_edge(value))}];")
    return "\n".join([*lines, "}"]) + "\n"


def _edge(value: Value) -> str:
    return str(value.type) if isinstance(value, Result) else ""


def _clusters(nodes: list[Node], ids: dict[Value | Node, str]) -> list[str]:
    tree: dict[str, Any] = {}
    for node in nodes:
        level = tree
        for part in filter(None, node.provenance.scope.split(".")):
            level = level.setdefault(part, {})
        level.setdefault("", []).append(node)
    lines: list[str] = []

    def emit(level: dict[str, Any], path: tuple[str, ...]) -> None:
        indent = "  " * (len(path) + 1)
        for node in level.get("", ()):
            lines.append(f"{indent}{ids[node]} [label={quote(node_label(node))}, tooltip={quote(node_tooltip(node))}];")
        for name, inner in level.items():
            if name:
                lines.append(f"{indent}subgraph {quote('cluster_' + '.'.join((*path, name)))} {{")
                lines.append(f"{indent}  label={quote(name)};")
                emit(inner, (*path, name))
                lines.append(f"{indent}}}")

    emit(tree, ())
    return lines
