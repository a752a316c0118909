"""How the functions of a library are called, as a bundle's manifest says it: enough for a reader that has TVM's runtime alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from targets.lowering.stages import Plan, makes_dim
from targets.runtime.manifest import Fields
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.ir.types import TensorType
from tgraph.ir.values import Input, Parameter, Value

TENSOR: Fields = {"name": str, "dtype": str, "shape": [str]}
VALUE: Fields = {"dtype": str, "shape": [str]}
STAGE: Fields = {"name": str, "calls": [str], "inputs": [str], "weights": [str], "places": [int], "outputs": [str],
                 "status": bool, "device_extents": [str], "sizes": [str], "host": str}
COPY: Fields = {"output": str, "of": str, "name": str}
GRAPH: Fields = {"name": str, "inputs": [TENSOR], "outputs": [TENSOR], "states": [str], "in_place": [str], "values": [VALUE],
                 "stages": [STAGE], "copies": [COPY]}
SIGNATURES = [GRAPH]
WEIGHTS = [{"name": str, "dtype": str, "shape": [int], "start": int}]


def signatures(program: Program, plans: Mapping[str, Plan]) -> list[dict[str, Any]]:
    """The signatures of a library: a graph of kernel calls each, in the order of the program.

    inputs, outputs: names and types; sizes are numbers or expressions over symbols in Python's notation. states: outputs that
    are the inputs of that name in the next call; in_place: those whose memory a call is given for the output alone, and writes a
    part of. values: what lies between kernels while a call runs, each in memory that begins at a multiple of 64 bytes.

    stages: the functions, which take, in this order, inputs, weights, values between kernels (`places` are numbers in `values`),
    outputs, a status word (i32[1]) if `status`, an i64[1] for each of `device_extents`, and the numbers `sizes`. One without
    `calls` is not called. host: an op that tgraph's interpreter runs after the stage, "" if there is none.

    copies: outputs that no function writes, each a copy of what is named: `of` an "input", a "weight", another "output", or what
    the interpreter made ("host").
    """
    return [_graph(graph, plans[name]) for name, graph in program.graphs.items()]


def weights_of(program: Program) -> list[dict[str, Any]]:
    """The tensors that the kernels of a program read, in their order."""
    return [{"name": name, "dtype": type.dtype.numpy_name, "shape": list(type.evaluate({}))}
            for name, type in program.parameters.items()]


def _graph(graph: Graph, plan: Plan) -> dict[str, Any]:
    made = [result for node in graph.nodes if makes_dim(node) for result in node.results]
    names: dict[Value, str] = {value: f"host{i}" for i, value in enumerate(made)}
    names.update({i: i.name for i in graph.inputs})
    stages = [{
        "name": stage.name, "calls": [n.attrs["function"].name for n in stage.calls],
        "inputs": [names[v] for v in stage.inputs], "weights": [w.name for w in stage.weights], "places": stage.places,
        "outputs": stage.outputs, "status": stage.has_status, "device_extents": stage.device_extents,
        "sizes": [str(size) for size in stage.sizes], "host": stage.host.op.name if stage.host else "",
    } for stage in plan.stages]
    written = {name for stage in plan.stages if stage.calls for name in stage.outputs}

    def source(value: Value) -> dict[str, str]:
        if isinstance(value, Parameter):
            return {"of": "weight", "name": value.name}
        if value in names:
            return {"of": "input" if isinstance(value, Input) else "host", "name": names[value]}
        return {"of": "output", "name": next(name for name, other in graph.outputs if other is value and name in written)}

    return {
        "name": graph.name, "inputs": [_tensor(i.name, i.type) for i in graph.inputs],
        "outputs": [_tensor(name, value.type) for name, value in graph.outputs], "states": list(graph.states),
        "in_place": sorted(plan.in_place), "values": [_value(v.type) for v in plan.memory.values], "stages": stages,
        "copies": [{"output": name, **source(value)} for name, value in graph.outputs if name not in written | plan.in_place],
    }


def _tensor(name: str, type: TensorType) -> dict[str, Any]:
    return {"name": name, **_value(type)}


def _value(type: TensorType) -> dict[str, Any]:
    return {"dtype": type.dtype.numpy_name, "shape": [str(d) for d in type.shape]}
