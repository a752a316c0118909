"""Graphs in the JSON format of Google's Model Explorer: scopes are its namespaces, functions the subgraphs that calls open.

A file is a `GraphCollection` as the package ai-edge-model-explorer defines it (`model_explorer.graph_builder`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..ir.errors import FormatError
from ..ir.file_formats import format
from ..ir.graph import Graph
from ..ir.location import scope_names
from ..ir.names import attribute, elements
from ..ir.printer import SHOWN_ELEMENTS, canonical_leaves, numbers_of
from ..ir.program import Program
from ..ir.values import Node, Result, Value
from .disk import replacing
from .labels import op_title, plain, value_label


@format(".model-explorer.json")
class ModelExplorerFormat:
    """JSON for Google's Model Explorer, a page to unfold graphs on."""

    @staticmethod
    def write(obj: Any, path: Path) -> None:
        """Write a graph, or all graphs of a program, as one collection."""
        if not isinstance(obj, (Graph, Program)):
            raise FormatError(f"{path}: expected a Graph or a Program, got {type(obj).__name__}")
        with replacing(path) as file:
            file.write((json.dumps(to_model_explorer(obj), ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))


def to_model_explorer(obj: Graph | Program) -> dict[str, Any]:
    """A graph or program as JSON values: the graphs, and then the functions that they call."""
    graphs = dict(obj.named_graphs())
    functions = {name: function for graph in graphs.values() for name, function in graph.functions.items()}
    made = [_graph(name, graph) for name, graph in graphs.items()]
    return {"label": ", ".join(graphs), "graphs": made + [_graph(f"${name}", f) for name, f in functions.items()]}


def _graph(name: str, graph: Graph) -> dict[str, Any]:
    numbers = numbers_of(graph)
    parameters, constants = canonical_leaves(graph)
    ids: dict[Value | Node, str] = {node: f"%{numbers[node.results[0]]}" for node in graph.nodes}
    nodes = []
    for given in graph.inputs:
        ids[given] = f"input {given.name}"
        nodes.append(_leaf(ids[given], value_label(given), (), {"kind": "input"}, given))
    for parameter in parameters:
        ids[parameter] = f"parameter {parameter.name}"
        label = parameter.name.rpartition(".")[2]
        nodes.append(_leaf(ids[parameter], label, _home(parameter), {"kind": "parameter", "name": parameter.name}, parameter))
    for number, constant in enumerate(constants):
        ids[constant] = f"constant {number}"
        facts = {"kind": "constant"}
        if constant.data is not None and constant.data.size <= SHOWN_ELEMENTS:
            facts["value"] = elements(constant.data, constant.dtype)
        nodes.append(_leaf(ids[constant], value_label(constant), _home(constant), facts, constant))
    nodes += [_node(node, ids) for node in graph.nodes]
    for output, value in graph.outputs:
        node = _leaf(f"output {output}", f"{output}: {plain(value.type)}", (), {"kind": "output"}, None)
        nodes.append({**node, "incomingEdges": [_edge(value, 0, ids)]})
    signature = {"inputs": ", ".join(f"{i.name}: {i.type}" for i in graph.inputs),
                 "outputs": ", ".join(f"{output}: {value.type}" for output, value in graph.outputs)}
    return {"id": name, "nodes": nodes, "groupNodeAttributes": {"": signature}}


def _node(node: Node, ids: dict[Value | Node, str]) -> dict[str, Any]:
    function = node.attrs.get("function")
    facts = {name: attribute(value) for name, value in node.attrs.items() if not isinstance(value, Graph)}
    facts["flops"] = str(node.flops)
    scopes = [s for s in node.provenance.scopes if s]
    facts.update({"scopes": ", ".join(scopes)} if len(scopes) > 1 else {})
    facts.update({"source": ", ".join(str(loc) for loc in node.provenance.locations)} if node.provenance.locations else {})
    incoming = [(position, value) for position, value in enumerate(node.operands) if value is not None]
    names = [node.op.operands[min(position, len(node.op.operands) - 1)].name for position, _ in incoming]
    return {
        "id": ids[node], "label": op_title(node), "namespace": "/".join(scope_names(node.provenance.scope)),
        "subgraphIds": [f"${function.name}"] if isinstance(function, Graph) else [],
        "attrs": _pairs(facts),
        "incomingEdges": [_edge(value, position, ids) for position, value in incoming],
        "inputsMetadata": [{"id": str(position), "attrs": _pairs({"__tensor_tag": name})}
                           for (position, _), name in zip(incoming, names)],
        "outputsMetadata": [_metadata(result, index) for index, result in enumerate(node.results)],
    }


def _leaf(name: str, label: str, namespace: Iterable[str], facts: dict[str, str], value: Value | None) -> dict[str, Any]:
    return {"id": name, "label": label, "namespace": "/".join(namespace), "attrs": _pairs(facts), "incomingEdges": [],
            "outputsMetadata": [_metadata(value, 0)] if value is not None else []}


def _home(leaf: Value) -> tuple[str, ...]:
    """The scope that all readers of a parameter or constant are in."""
    scopes = [scope_names(user.provenance.scope) for user in leaf.users]
    if not scopes:
        return ()
    low, high = min(scopes), max(scopes)
    count = 0
    while count < min(len(low), len(high)) and low[count] == high[count]:
        count += 1
    return low[:count]


def _edge(value: Value, position: int, ids: dict[Value | Node, str]) -> dict[str, str]:
    source, index = (ids[value.node], value.index) if isinstance(value, Result) else (ids[value], 0)
    return {"sourceNodeId": source, "sourceNodeOutputId": str(index), "targetNodeInputId": str(position)}


def _metadata(value: Value, index: int) -> dict[str, Any]:
    shape = "x".join(str(d) for d in value.shape) or "scalar"
    return {"id": str(index), "attrs": _pairs({"tensor_shape": f"{value.dtype.name}[{shape}]", "type": str(value.type)})}


def _pairs(facts: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in facts.items()]
