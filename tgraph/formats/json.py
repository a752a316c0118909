"""Graphs as JSON, for tools in other languages: complete except for the data of parameters, so it reads back to an equal graph.

graph.schema.json beside this file is their JSON Schema. In short:

    {"format": "tgraph", "version": 1,
     "functions": [GRAPH, ...],                         callees first
     "graphs": [GRAPH, ...]}                            a Program has several

    GRAPH = {"name": "main",
             "symbols": {"S": {"min": 0, "max": 512}},  the dims; max is null where there is none
             "constraints": [["T", "B"], ...],          dims that are equal at run time
             "inequalities": [["S", "T+1"], ...],       the first is at least the second; absent where there are none
             "inputs": [{"name": "x", "type": "f32[B, S, 768]", "id": 0}, ...],
             "parameters": [{"name": "w", "type": "f32[768, 768]", "aliases": [], "id": 1}, ...],
             "constants": [{"type": "i64[2]", "sha256": "...", "elements": [1, 2], "id": 2}, ...],
             "nodes": [{"op": "linear", "operands": [0, 1, null], "attributes": {...}, "scopes": ["encoder"],
                        "locations": [["model.py", 31]], "results": [{"id": 3, "type": "f32[B, S, 768]"}]}, ...],
             "outputs": [{"name": "hidden", "value": 3}, ...]}

Types and dims are written as in the text form. Ids number the values of one graph. A constant of more than 16
elements has "base64" (its bytes, little-endian) in place of "elements"; floats that JSON lacks are the strings "inf",
"-inf", "nan". Attributes are JSON values, or {"dtype": "f32"}, {"dim": "B*S"}, {"float": "inf"}, {"function": "name"}.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..ir.dims import Dim, Symbol, as_symbol, dim
from ..ir.dtypes import DTYPES, DType
from ..ir.errors import FormatError, TGraphError
from ..ir.expressions import parse_dim, parse_type
from ..ir.file_formats import format
from ..ir.graph import Graph
from ..ir.json_text import read_json
from ..ir.location import Location, Provenance
from ..ir.printer import SHOWN_ELEMENTS, canonical_leaves
from ..ir.program import Program
from ..ir.registry import get_op
from ..ir.rules import Constraints
from ..ir.types import TensorType
from ..ir.values import Constant, Value
from ..ir.weights import Weights
from .disk import replacing
from .fields import at, entries, field, known, of_kind, shown

VERSION = 1
SCHEMA = Path(__file__).with_name("graph.schema.json")  # JSON Schema of these files


@format(".json")
class JsonFormat:
    """JSON for other tools; `tgraph dump --schema` prints the schema."""

    @staticmethod
    def write(obj: Any, path: Path, *, indent: int | None = None) -> None:
        """Write a graph or program. Raises FormatError for a constant without data."""
        if not isinstance(obj, (Graph, Program)):
            raise FormatError(f"{path}: expected a Graph or a Program, got {type(obj).__name__}")
        with replacing(path) as file:
            file.write((json.dumps(to_json(obj), indent=indent, ensure_ascii=False, allow_nan=False) + "\n").encode())

    @staticmethod
    def read(path: Path) -> Graph | Program:
        """Read a Graph, or a Program where the file holds several. Raises FormatError if it is damaged."""
        found = read_json(path.read_bytes(), path, "graph in JSON")
        try:
            return from_json(found)
        except RecursionError:
            raise FormatError(f"{path} is no graph in JSON: it is nested too deep") from None
        except TGraphError as error:
            raise FormatError(f"{path} is no graph in JSON: {error}") from None


def to_json(obj: Graph | Program) -> dict[str, Any]:
    """A graph or program as JSON values."""
    graphs = obj.graphs if isinstance(obj, Program) else {obj.name: obj}
    functions: dict[str, Graph] = {}
    for graph in graphs.values():
        for name, function in graph.functions.items():
            functions.setdefault(name, function)
    return {"format": "tgraph", "version": VERSION,
            "functions": [_graph(n, f, with_aliases=False) for n, f in functions.items()],
            "graphs": [_graph(n, g, with_aliases=True) for n, g in graphs.items()]}


def from_json(data: Mapping[str, Any]) -> Graph | Program:
    """The inverse of `to_json`. Raises FormatError that says where the data is wrong, and what was expected there."""
    if not isinstance(data, dict) or data.get("format") != "tgraph" or data.get("version") != VERSION:
        found = (data.get("format"), data.get("version")) if isinstance(data, dict) else (None, None)
        raise FormatError(f"expected format tgraph, version {VERSION}, found {found[0]!r}, {found[1]!r}")
    weights = Weights()
    functions: dict[str, Graph] = {}
    for i, entry in enumerate(entries(data, "functions")):
        with at(f"function {entry.get('name', i)!r}"):
            functions[field(entry, "name", str)] = _read_graph(entry, weights, functions)
    program = Program(weights)
    for i, entry in enumerate(entries(data, "graphs")):
        with at(f"graph {entry.get('name', i)!r}"):
            program.add(field(entry, "name", str), _read_graph(entry, weights, functions))
    if not len(program):
        raise FormatError("there is no graph in it")
    return next(iter(program.graphs.values())) if len(program) == 1 else program


def _graph(name: str, graph: Graph, with_aliases: bool) -> dict[str, Any]:
    parameters, constants = canonical_leaves(graph)
    nodes = graph.nodes
    values: list[Value] = [*graph.inputs, *parameters, *constants, *(r for n in nodes for r in n.results)]
    ids = {v: i for i, v in enumerate(values)}
    aliases: dict[str, list[str]] = {}
    for alias, target in sorted(graph.weights.aliases.items()):
        aliases.setdefault(target, []).append(alias)
    return {
        "name": name,
        "symbols": {s.name: {"min": s.min, "max": s.max} for s in graph.symbols.values()},
        "constraints": [[str(left), str(right)] for left, right in graph.constraints],
        **({"inequalities": [[str(left), str(right)] for left, right in graph.inequalities]} if graph.inequalities else {}),
        "inputs": [{"name": i.name, "type": str(i.type), "id": ids[i], **_state(graph, i.name)} for i in graph.inputs],
        "parameters": [{"name": p.name, "type": str(p.type), "id": ids[p],
                        "aliases": aliases.get(p.name, []) if with_aliases else []} for p in parameters],
        "constants": [{**_constant(c), "id": ids[c]} for c in constants],
        "nodes": [{"op": n.op.name,
                   "operands": [None if v is None else ids[v] for v in n.operands],
                   "attributes": {k: _attribute(v) for k, v in n.attrs.items()},
                   "scopes": list(n.provenance.scopes),
                   "locations": [[loc.file, loc.line] for loc in n.provenance.locations],
                   "results": [{"id": ids[r], "type": _plain(r.type)} for r in n.results]} for n in nodes],
        "outputs": [{"name": name, "value": ids[v], **_state(graph, name)} for name, v in graph.outputs],
    }


def _state(graph: Graph, name: str) -> dict[str, bool]:
    """The field that only states have."""
    return {"state": True} if name in graph.states else {}


def _plain(type: TensorType) -> str:
    return str(TensorType(type.dtype, type.shape))


def _constant(constant: Constant) -> dict[str, Any]:
    if constant.data is None:
        raise FormatError(f"constant sha256:{constant.digest} has no data")
    entry: dict[str, Any] = {"type": str(constant.type), "sha256": constant.digest}
    if constant.data.size > SHOWN_ELEMENTS:
        return {**entry, "base64": base64.b64encode(np.ascontiguousarray(constant.data).tobytes()).decode()}
    wide = constant.data.astype(np.float64) if constant.dtype.is_float else constant.data
    return {**entry, "elements": _elements(wide.tolist())}


def _elements(value: Any) -> Any:
    if isinstance(value, list):
        return [_elements(v) for v in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _attribute(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple):
        return [_attribute(v) for v in value]
    if isinstance(value, DType):
        return {"dtype": value.name}
    if isinstance(value, Dim):
        return {"dim": str(value)}
    if isinstance(value, Graph):
        return {"function": value.name}
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": str(value)}
    return value


def _read_graph(entry: Mapping[str, Any], weights: Weights, functions: Mapping[str, Graph]) -> Graph:
    graph = Graph(field(entry, "name", str), weights)
    symbols = _read_symbols(field(entry, "symbols", dict))
    for kind, require in (("constraint", graph.constrain), ("inequality", graph.require_order)):
        key = {"constraint": "constraints", "inequality": "inequalities"}[kind]
        for pair in entries(entry, key, list) if key in entry or kind == "constraint" else ():
            with at(f"{kind} {shown(pair)}"):
                if len(pair) > 2:
                    raise FormatError(f"expected the two sides of a {kind}, found {len(pair)}")
                left, right = (of_kind(side, str, f"a side of a {kind}") for side in (*pair, None, None)[:2])
                require(parse_dim(left, symbols), parse_dim(right, symbols))
    values: dict[int, Value] = {}
    for item in entries(entry, "inputs"):
        with at(f"input {shown(item.get('name'))}"):
            name, type = field(item, "name", str), parse_type(field(item, "type", str), symbols)
            if _is_state(item):
                graph.state(name, type)
            values[field(item, "id", int)] = graph.input(name, type)
    for item in entries(entry, "parameters"):
        with at(f"parameter {shown(item.get('name'))}"):
            name = field(item, "name", str)
            values[field(item, "id", int)] = graph.parameter(name, parse_type(field(item, "type", str)))
            weights.aliases.update(dict.fromkeys(entries(item, "aliases", str), name))
    for i, item in enumerate(entries(entry, "constants")):
        with at(f"constant {i}"):
            values[field(item, "id", int)] = _read_constant(graph, item)
    for i, item in enumerate(entries(entry, "nodes")):
        with at(f"node {i} ({item.get('op')})"):
            _read_node(graph, item, values, symbols, functions)
    outputs = []
    for item in entries(entry, "outputs"):
        with at(f"output {shown(item.get('name'))}"):
            outputs.append((field(item, "name", str), known(values, item.get("value"), "value")))
            if _is_state(item):
                graph.state(outputs[-1][0], outputs[-1][1].type)
    graph.set_outputs(outputs)
    return graph


def _is_state(item: Mapping[str, Any]) -> bool:
    return of_kind(item.get("state", False), bool, "'state'") is True


def _read_symbols(entry: Mapping[str, Any]) -> dict[str, Symbol]:
    symbols = {}
    for name, bounds in entry.items():
        with at(f"dim {name!r}"):
            high = field(bounds, "max", int) if of_kind(bounds, dict, "its bounds").get("max") is not None else None
            symbol = as_symbol(dim(name, min=field(bounds, "min", int), max=high))
            assert symbol is not None
            symbols[name] = symbol
    return symbols


def _read_node(graph: Graph, item: Mapping[str, Any], values: dict[int, Value], symbols: Mapping[str, Symbol],
               functions: Mapping[str, Graph]) -> None:
    operands = [None if i is None else known(values, i, "value") for i in field(item, "operands", list)]
    attrs = {}
    for name, value in field(item, "attributes", dict).items():
        with at(f"attribute {name!r}"):
            attrs[name] = _read_attribute(value, symbols, functions)
    locations = []
    for place in entries(item, "locations", list):
        file, line = (*place, None, None)[:2]
        locations.append(Location(of_kind(file, str, "the file of a location"), of_kind(line, int, "the line of a location")))
    provenance = Provenance(tuple(entries(item, "scopes", str)), tuple(locations))
    made = graph.insert(get_op(field(item, "op", str)), operands, attrs, provenance)
    results, stated = made if isinstance(made, tuple) else (made,), entries(item, "results")
    if len(results) != len(stated):
        raise FormatError(f"it has {len(results)} results, the file lists {len(stated)}")
    agree = Constraints(graph.constraints).agree
    for result, entry in zip(results, stated):
        type = parse_type(field(entry, "type", str), symbols)
        if not agree(result.type, type):
            raise FormatError(f"the result is {result.type}, the file says {type}")
        result.type, values[field(entry, "id", int)] = type, result


def _read_constant(graph: Graph, item: Mapping[str, Any]) -> Value:
    type = parse_type(field(item, "type", str))
    shape = type.evaluate({})
    try:
        if "base64" in item:
            array = np.frombuffer(base64.b64decode(field(item, "base64", str)), dtype=type.dtype.numpy).reshape(shape)
        else:
            elements = np.array(item.get("elements"), dtype=np.float64 if type.dtype.is_float else type.dtype.numpy)
            array = elements.astype(type.dtype.numpy).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        raise FormatError(f"its elements are none of {type}: {shown(item.get('base64', item.get('elements')))}") from None
    constant = graph.constant(array, type.dtype)
    digest = field(item, "sha256", str)
    if constant.digest != digest and not np.isnan(array.astype(np.float64)).any():
        raise FormatError(f"the elements of constant {digest} are others ({hashlib.sha256(array.tobytes()).hexdigest()})")
    return constant


def _read_attribute(value: Any, symbols: Mapping[str, Symbol], functions: Mapping[str, Graph]) -> Any:
    if isinstance(value, list):
        return tuple(_read_attribute(v, symbols, functions) for v in value)
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items())) if len(value) == 1 else (None, None)
    if kind not in ("dtype", "dim", "function", "float"):
        raise FormatError(f"expected a value or one of dtype, dim, function and float, found {shown(value)}")
    text: str = of_kind(content, str, repr(kind))
    if kind == "dim":
        return parse_dim(text, symbols)
    tables: Mapping[str, Mapping[str, Any]] = {"dtype": DTYPES, "function": functions, "float": _FLOATS}
    return known(tables[kind], text, kind)


_FLOATS = {text: float(text) for text in ("inf", "-inf", "nan")}
