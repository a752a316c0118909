"""Graphs as JSON, for tools in other languages. Complete but for the parameters' data: it reads back to an equal graph.

    {"format": "tgraph", "version": 1,
     "functions": [GRAPH, ...],                         callees first
     "graphs": [GRAPH, ...]}                            a Program has several

    GRAPH = {"name": "main",
             "symbols": {"S": {"min": 0, "max": 512}},  the dims; max is null where there is none
             "constraints": [["T", "B"], ...],          dims that are equal at run time
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
from ..ir.graph import Graph
from ..ir.location import Location, Provenance
from ..ir.printer import SHOWN_ELEMENTS, canonical_leaves
from ..ir.program import Program
from ..ir.registry import get_op
from ..ir.rules import Constraints
from ..ir.types import TensorType
from ..ir.values import Constant, Value
from ..ir.weights import Weights
from .registry import format, replacing

VERSION = 1


@format(".json")
class JsonFormat:
    """JSON for other tools; the schema is in the module's documentation."""

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
        try:
            return from_json(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise FormatError(f"{path} is no graph in JSON: {type(error).__name__}: {error}") from None
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
    """The inverse of `to_json`."""
    if data.get("format") != "tgraph" or data.get("version") != VERSION:
        raise FormatError(f"expected format tgraph, version {VERSION}, "
                          f"found {data.get('format')!r}, {data.get('version')!r}")
    weights = Weights()
    functions: dict[str, Graph] = {}
    for entry in data["functions"]:
        functions[_name(entry["name"])] = _read_graph(entry, weights, functions)
    program = Program(weights)
    for entry in data["graphs"]:
        program.add(_name(entry["name"]), _read_graph(entry, weights, functions))
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
        "inputs": [{"name": i.name, "type": str(i.type), "id": ids[i]} for i in graph.inputs],
        "parameters": [{"name": p.name, "type": str(p.type), "id": ids[p],
                        "aliases": aliases.get(p.name, []) if with_aliases else []} for p in parameters],
        "constants": [{**_constant(c), "id": ids[c]} for c in constants],
        "nodes": [{"op": n.op.name,
                   "operands": [None if v is None else ids[v] for v in n.operands],
                   "attributes": {k: _attribute(v) for k, v in n.attrs.items()},
                   "scopes": list(n.provenance.scopes),
                   "locations": [[loc.file, loc.line] for loc in n.provenance.locations],
                   "results": [{"id": ids[r], "type": _plain(r.type)} for r in n.results]} for n in nodes],
        "outputs": [{"name": name, "value": ids[v]} for name, v in graph.outputs],
    }


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
    graph = Graph(_name(entry["name"]), weights)
    symbols = {}
    for name, bounds in entry["symbols"].items():
        symbol = as_symbol(dim(name, min=bounds["min"], max=bounds["max"]))
        assert symbol is not None
        symbols[name] = symbol
    for left, right in entry["constraints"]:
        graph.constrain(parse_dim(left, symbols), parse_dim(right, symbols))
    values: dict[int, Value] = {}
    for item in entry["inputs"]:
        values[item["id"]] = graph.input(_name(item["name"]), parse_type(item["type"], symbols))
    for item in entry["parameters"]:
        values[item["id"]] = graph.parameter(_name(item["name"]), parse_type(item["type"]))
        weights.aliases.update({_name(alias): item["name"] for alias in item["aliases"]})
    for item in entry["constants"]:
        values[item["id"]] = _read_constant(graph, item)
    for item in entry["nodes"]:
        operands = [None if i is None else values[i] for i in item["operands"]]
        attrs = {k: _read_attribute(v, symbols, functions) for k, v in item["attributes"].items()}
        locations = tuple(Location(_name(file), int(line)) for file, line in item["locations"])
        provenance = Provenance(tuple(map(_name, item["scopes"])), locations)
        results = graph.insert(get_op(item["op"]), operands, attrs, provenance)
        results = results if isinstance(results, tuple) else (results,)
        known = Constraints(graph.constraints)
        for result, stated in zip(results, item["results"], strict=True):
            type = parse_type(stated["type"], symbols)
            if not known.agree(result.type, type):
                raise FormatError(f"the result of {item['op']} is {result.type}, the file says {type}")
            result.type, values[stated["id"]] = type, result
    graph.set_outputs((_name(item["name"]), values[item["value"]]) for item in entry["outputs"])
    return graph


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise FormatError(f"expected a name, found {value!r}")
    return value


def _read_constant(graph: Graph, item: Mapping[str, Any]) -> Value:
    type = parse_type(item["type"])
    shape = type.evaluate({})
    if "base64" in item:
        array = np.frombuffer(base64.b64decode(item["base64"]), dtype=type.dtype.numpy).reshape(shape)
    else:
        elements = np.array(item["elements"], dtype=np.float64 if type.dtype.is_float else type.dtype.numpy)
        array = elements.astype(type.dtype.numpy).reshape(shape)
    constant = graph.constant(array, type.dtype)
    if constant.digest != item["sha256"] and not np.isnan(array.astype(np.float64)).any():
        raise FormatError(f"the elements of constant {item['sha256']} are others "
                          f"({hashlib.sha256(array.tobytes()).hexdigest()})")
    return constant


def _read_attribute(value: Any, symbols: Mapping[str, Symbol], functions: Mapping[str, Graph]) -> Any:
    if isinstance(value, list):
        return tuple(_read_attribute(v, symbols, functions) for v in value)
    if not isinstance(value, dict):
        return value
    (kind, content), = value.items()
    if kind == "dtype":
        return DTYPES[content]
    if kind == "dim":
        return parse_dim(content, symbols)
    return functions[content] if kind == "function" else float(content)
