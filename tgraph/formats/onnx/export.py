"""`tg.export_onnx`: a graph or program as ONNX models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.builder import RecordingBuilder, take_apart
from ...ir.dtypes import DType, bf16, bool_, f16, f32, f64, i8, i32, i64, u8
from ...ir.errors import FormatError
from ...ir.graph import Graph
from ...ir.program import Program
from ...ir.values import Node, Value
from ..disk import replacing
from .writing import ops, quantized, recurrent  # noqa: F401  (fill the table)
from .writing.table import Row, find_row
from .writing.writer import GraphWriter, WrittenNode, number_of, tensor

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

OPSET = 20
OLDEST = 13
LIMIT = 1_800_000_000  # bytes of weights in one message; a protocol buffer ends at 2 GiB
ALIGNMENT = 4096  # of external data, as the standard recommends for mapping


def export_onnx(graph: Graph | Program, path: str | os.PathLike[str], opset: int = OPSET, *,
                external: bool | None = None) -> None:
    """`tg.export_onnx`, whose documentation is in this package's `__init__`, which imports nothing of this until it is called."""
    path = Path(path)
    if isinstance(graph, Program) and len(graph) > 1:
        for name, one in graph.graphs.items():
            export_onnx(one, path.with_suffix(f".{name}{path.suffix}"), opset, external=external)
        return
    one = next(iter(graph.graphs.values())) if isinstance(graph, Program) else graph
    model, arrays = to_model(one, opset)
    total = sum(a.nbytes for a in arrays.values())
    if external or (external is None and total > LIMIT):
        beside = path.with_name(path.name + ".data")
        model.graph.initializer.extend(_external(arrays, beside))
    else:
        model.graph.initializer.extend(tensor(name, array) for name, array in arrays.items())
    with replacing(path) as file:
        file.write(model.SerializeToString())


def to_model(graph: Graph, opset: int = OPSET) -> tuple[ModelProto, Mapping[str, np.ndarray]]:
    """The model without its weights, and these by name."""
    import onnx
    import onnx.helper

    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise FormatError(f"opset {opset} cannot be written; there is {OLDEST} to {newest}")
    missing = [name for name in graph.parameters if name not in graph.weights]
    if missing:
        raise FormatError(f"graph {graph.name} cannot be exported: no data for parameter {', '.join(missing[:8])}")
    flat = _writable(graph, opset)
    to = GraphWriter(flat, opset)
    for node in flat.nodes:
        _write(node, to)
    outputs = []
    for name, (_, value) in zip(to.outputs, flat.outputs):
        to.nodes.append(onnx.helper.make_node("Identity", [to.name(value)], [name], name=to.fresh(f"output/{name}")))
        outputs.append(_info(name, value))
    others = sorted({n.domain for n in to.nodes} - {""})
    opsets = [onnx.helper.make_opsetid("", opset), *(onnx.helper.make_opsetid(name, 1) for name in others)]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(to.nodes, graph.name, [_info(to.names[i], i) for i in flat.inputs], outputs,
                               [tensor(name, array) for name, array in to.constants.items()]),
        opset_imports=opsets, producer_name="tgraph", ir_version=onnx.helper.find_min_ir_version_for(opsets[:1]))
    return model, {to.names[parameter]: np.asarray(flat.weights[name]) for name, parameter in flat.parameters.items()}


def _write(node: Node, to: GraphWriter) -> None:
    row = find_row(node, to.opset)
    assert row is not None, node
    to.scope = node.provenance.scopes[0].replace(".", "/") if node.provenance.scopes else ""
    found = row.write(WrittenNode(node, to), *["" if v is None else to.name(v) for v in node.operands])
    for result, name in zip(node.results, found if isinstance(found, tuple) else (found,)):
        to.names[result] = name
        if node.op.traits.makes_dim is not None:
            to.learn(result)


def _info(name: str, value: Value) -> Any:
    import onnx.helper

    shape = [d if isinstance(d, int) else str(d) for d in value.shape]
    return onnx.helper.make_tensor_value_info(name, number_of(value.dtype), shape)


def _writable(graph: Graph, opset: int) -> Graph:
    """A copy in which all functions are in place of their calls, and all ops have a row in the table."""
    flat = graph.copy()
    while calls := [n for n in flat.nodes if n.op.name == "call"]:
        for node in calls:
            _put(flat, node, flat.inline(node.attrs["function"], list(node.inputs)))
    pending = list(reversed(flat.nodes))
    while pending:
        node = pending.pop()
        row = find_row(node, opset)
        if row is not None:
            pending.extend(_widened(flat, node, row, opset))
            continue
        if node.op.decompose is None:
            where = node.provenance.describe()
            problem = f"ONNX has no {node.op.name} at opset {opset}, and it has no decomposition"
            raise FormatError(f"graph {graph.name} cannot be exported: {problem}" + (f"\n  {where}" if where else ""))
        b = RecordingBuilder(flat, node.provenance)
        _put(flat, node, take_apart(b, node, node.op.decompose))
        pending.extend(reversed(b.nodes))
    flat.prune()
    return flat


def _put(flat: Graph, node: Node, values: Sequence[Value]) -> None:
    """Values in place of a node's results."""
    for old, value in zip(node.results, values):
        flat.replace(old, value)
    flat.erase(node)


WIDER = {i8: i32, u8: i32, i32: i64, f16: f32, bf16: f32, f32: f64, bool_: i32}


def _widened(flat: Graph, node: Node, row: Row, opset: int) -> list[Node]:
    """Put casts around a node whose element types ONNX's op does not take; the nodes that are there instead."""
    import onnx.defs

    if not row.like:
        return []
    formals = onnx.defs.get_schema(row.like, opset).inputs
    order = (1, 0) if node.op.name == "embedding" else range(len(node.operands))  # ONNX gathers from the first
    wanted = [None if v is None else v.dtype for v in node.operands]
    for formal, position in zip((*formals, *[formals[-1]] * len(wanted)), order):
        dtype = wanted[position]
        while dtype is not None and f"tensor({_named(dtype)})" not in formal.types and dtype in WIDER:
            dtype = WIDER[dtype]
        wanted[position] = dtype
    for own in {v.dtype for v in node.operands if v is not None}:  # operands of one type stay so
        alike = [i for i, v in enumerate(node.operands) if v is not None and v.dtype == own]
        widest = max((d for i in alike if (d := wanted[i]) is not None), key=lambda d: d.bits)
        if node.op.elementwise:
            wanted = [widest if i in alike else d for i, d in enumerate(wanted)]
    if all(v is None or v.dtype == dtype for v, dtype in zip(node.operands, wanted)):
        return []
    b = RecordingBuilder(flat, node.provenance)
    operands = [v if v is None or v.dtype == dtype else b.cast(v, dtype=dtype) for v, dtype in zip(node.operands, wanted)]
    found = b.apply(node.op, operands, node.attrs)
    results = zip(node.results, found if isinstance(found, tuple) else (found,))
    _put(flat, node, [new if new.dtype == old.dtype else b.cast(new, dtype=old.dtype) for old, new in results])
    return b.nodes


def _named(dtype: DType) -> str:
    """ONNX's name of an element type."""
    return {"f32": "float", "f64": "double"}.get(dtype.name, dtype.numpy_name)


def _external(arrays: Mapping[str, np.ndarray], path: Path) -> list[TensorProto]:
    """The initialisers that say where in a file each array lies, which is written."""
    import onnx
    import onnx.helper

    made, at = [], 0
    with replacing(path) as file:
        for name, array in arrays.items():
            start = -(-at // ALIGNMENT) * ALIGNMENT
            file.write(b"\0" * (start - at))
            file.write(np.ascontiguousarray(array).data if array.dtype.kind != "V" else array.tobytes())
            at = start + array.nbytes
            proto = onnx.TensorProto(name=name, dims=array.shape, data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
                                     data_location=onnx.TensorProto.EXTERNAL)
            for key, value in (("location", path.name), ("offset", str(start)), ("length", str(array.nbytes))):
                proto.external_data.add(key=key, value=value)
            made.append(proto)
    return made
