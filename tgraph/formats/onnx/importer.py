"""An ONNX model to a graph: its nodes, in order, as functions of the language, traced under the exporter's names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...current_tracer import apply, current_tracer
from ...ir.cached import cached_property
from ...ir.dims import RESERVED, Dim, DimLike, as_symbol, dim, substitute, symbols
from ...ir.dtypes import DType, dtype_of
from ...ir.errors import FormatError, ParseError, RuleError, TGraphError
from ...ir.expressions import parse_dim
from ...ir.graph import Graph
from ...ir.location import Location, Provenance
from ...ir.types import TensorType
from ...ir.values import Input, Result
from ...tensor import Tensor
from ...trace import Tracer
from . import operators  # noqa: F401  (fills the table)
from .evaluate import evaluate
from .grids import as_tensor, columns_as_tensor, decided
from .known import Columns, Known, Ramp, TensorSequence
from .model import Initializer, Model, initializer, read_model, sorted_nodes
from .node import NeedsInputsError, OnnxNode, UnsupportedError, element_type
from .ramps import evaluate_ramps
from .registry import IMPORTERS, find
from .torch_metadata import line_of_node, scope_of_node

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

Dims = Mapping[str, DimLike]
Specs = Mapping[str, Any]  # types, or arrays
EXCLUDED = -1e4  # a float table that holds such numbers, or lower ones, is a mask, and no weight


def import_onnx(source: str | os.PathLike[str] | bytes | ModelProto, dims: Dims | None = None,
                inputs: Specs | None = None) -> Graph:
    """`tg.import_onnx`, whose documentation is in this package's `__init__`, which imports nothing of this until it is called."""
    return import_model(read_model(source), dims, inputs)


def import_model(model: Model, dims: Dims | None = None, inputs: Specs | None = None) -> Graph:
    """The graph of a model that is read; sizes that its ops require to be equal are one."""
    _require_known_ops(model)
    renamed: dict[str, DimLike] = dict(dims or {})
    while True:
        graph = _Import(model, renamed, inputs or {}).run()
        equal = _equal_symbols(graph)
        if not equal:
            return graph
        names = {**equal, **_as_named(model), **renamed}  # a size that the model does not name has the symbol's name
        found = {name: substitute(size, equal) if isinstance(size, Dim) else size for name, size in names.items()}
        if found == renamed:
            return graph  # a call checks what is still to be equal
        renamed = found


@dataclass
class Scope:
    """Names that a graph, or a subgraph within it, can read."""

    importer: _Import
    values: dict[str, Any] = field(default_factory=dict)
    above: Scope | None = None

    def __contains__(self, name: object) -> bool:
        return name in self.values or (self.above is not None and name in self.above)

    def find(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        if self.above is None:
            raise FormatError(f"{self.importer.model.name}: nothing gives {name!r}")
        return self.above.find(name)

    def run(self, graph: GraphProto) -> list[Any]:
        """The results of a subgraph that reads from here."""
        return self.importer.subgraph(graph, Scope(self.importer, above=self))


class OnnxTracer(Tracer):
    """Records nodes under the name, and the number, of the ONNX node at hand."""

    def __init__(self, graph: Graph, model: Model):
        super().__init__(graph)
        self.model: Model = model
        self.at: Provenance = Provenance((), ())

    def enter(self, index: int, node: NodeProto) -> None:
        self.at = origin_of(index, node, self.model)

    def provenance(self) -> Provenance:
        return self.at


class _Import:
    """One reading of a model. What fails leaves its results out, and what needs those; all failures are told at the end."""

    def __init__(self, model: Model, dims: Dims, inputs: Specs):
        self.model: Model = model
        self.dims: Dims = dims
        self.specs: Specs = inputs
        self.graph: Graph = Graph(_plain(model.graph.name) or "main")
        self.tracer: OnnxTracer = OnnxTracer(self.graph, model)
        self.problems: list[str] = []
        self.wanted: dict[str, list[str]] = {}  # a problem -> the inputs whose elements it would go away with
        self.ramps: dict[Ramp | Columns, Tensor] = {}

    def run(self) -> Graph:
        scope = Scope(self)
        token = current_tracer.set(self.tracer)
        try:
            for info in self.model.graph.input:
                if info.name not in self.model.initializers:
                    scope.values[info.name] = self._input(info)
            scope.values.update((i.name, self._initializer(i)) for i in self.model.initializers.values())
            self._nodes(self.model.graph, scope)
            outputs = [(o.name, self._output(scope.find(o.name), o.name)) for o in self.model.graph.output
                       if not (self.problems and isinstance(scope.find(o.name), _Missing))]
        finally:
            current_tracer.reset(token)
        if self.problems:
            raise self._failure()
        if not outputs:
            raise FormatError(f"{self.model.name} has no outputs")
        self.graph.set_outputs((name, value.value) for name, value in outputs)
        given = {value for _, value in self.graph.outputs}
        for node in self.graph.nodes[::-1]:  # sizes that went into shapes, and what the model computes for nothing
            if not any(r.uses or r in given for r in node.results) and not self.graph.is_needed(node):
                self.graph.erase(node)
        return self.graph

    def _output(self, value: Any, name: str) -> Tensor:
        if value is None:
            raise FormatError(f"{self.model.name}: output {name!r} is a result of its node that tgraph does not compute")
        if isinstance(value, TensorSequence):
            raise FormatError(f"{self.model.name}: output {name!r} is a sequence; tgraph gives tensors")
        return self.tensor(value)

    def _failure(self) -> FormatError:
        """All problems; as NeedsInputsError, if the elements of inputs are all that is missing."""
        text = "\n  ".join([f"{self.model.name} cannot be imported:", *dict.fromkeys(self.problems)])
        if not all(self.wanted.get(problem) for problem in self.problems):
            return FormatError(text)
        names = list(dict.fromkeys(name for problem in self.problems for name in self.wanted[problem]))
        arrays = ", ".join(f"{name!r}: array" for name in names)
        return NeedsInputsError(f"{text}\nAs constants, inputs would do: import_onnx(..., inputs={{{arrays}}})", names)

    @cached_property
    def producers(self) -> dict[str, NodeProto]:
        """The nodes of the main graph by the names that they give."""
        return {name: node for node in self.model.graph.node for name in node.output}

    # What is there before any node

    def _input(self, info: ValueInfoProto) -> Any:
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            raise FormatError(f"{self.model.name}: input {info.name!r} is {kind or 'of no type'}; tgraph takes tensors")
        try:
            dtype = element_type(info.type.tensor_type.elem_type)
        except UnsupportedError as error:
            raise FormatError(f"{self.model.name}: input {info.name!r} {error}") from None
        given = self.specs.get(info.name)
        if isinstance(given, TensorType):
            return Tensor(self.graph.input(info.name, given), self.tracer)
        if given is not None:
            return self._constant(info, np.asarray(given), dtype)
        if not info.type.tensor_type.HasField("shape"):
            raise FormatError(f"{self.model.name}: input {info.name!r} has no shape; give its type: "
                              f'inputs={{"{info.name}": tg.{dtype}[...]}}')
        stem = _plain(info.name) or "input"
        shape = tuple(self._size(d, f"{stem}_{axis}") for axis, d in enumerate(info.type.tensor_type.shape.dim))
        return Tensor(self.graph.input(info.name, TensorType(dtype, shape)), self.tracer)

    def _constant(self, info: ValueInfoProto, given: np.ndarray, dtype: DType) -> Known:
        """An input that is an array. Raises FormatError if it is not of the model's type and shape."""
        declared = info.type.tensor_type
        sizes = [d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in declared.shape.dim]
        fits = not declared.HasField("shape") or (len(sizes) == given.ndim and all(
            a in (None, b) for a, b in zip(sizes, given.shape)))
        if not fits or not np.can_cast(given.dtype, dtype.numpy, "same_kind"):
            shown = f"{dtype}[{', '.join('?' if n is None else str(n) for n in sizes)}]"
            raise FormatError(f"{self.model.name}: input {info.name!r} is {shown}, and the array given for it "
                              f"{given.dtype}{list(given.shape)}")
        return Known.of(given.astype(dtype.numpy))

    def _size(self, size: Any, unnamed: str) -> DimLike:
        if size.WhichOneof("value") == "dim_value" and size.dim_value >= 0:
            return int(size.dim_value)
        name = size.dim_param or unnamed
        return self.dims[name] if name in self.dims else symbolic(name)

    def _initializer(self, found: Initializer) -> Known | Tensor:
        """A parameter, if it is a weight; numbers, indices and masks are known."""
        array = found.load()
        if found.fixed or not _is_weight(array):
            return Known.of(array)
        self.graph.weights.set(found.name, array)
        return Tensor(self.graph.parameter(found.name, TensorType(dtype_of(array), array.shape)), self.tracer)

    # Nodes

    def subgraph(self, graph: GraphProto, scope: Scope) -> list[Any]:
        inner = [initializer(tensor, None, self.model.name, None) for tensor in graph.initializer]
        scope.values.update((i.name, self._initializer(i)) for i in inner)
        self._nodes(graph, scope)
        return [scope.find(o.name) for o in graph.output]

    def _nodes(self, graph: GraphProto, scope: Scope) -> None:
        for index, node in sorted_nodes(graph, scope, self.model.name):
            before = self.tracer.at
            self.tracer.enter(index, node)
            results = self._results(index, node, scope)
            scope.values.update((name, value) for name, value in zip(node.output, results) if name)
            self.tracer.at = before

    def _results(self, index: int, node: NodeProto, scope: Scope) -> list[Any]:
        operands = [scope.find(name) if name else None for name in node.input]
        nothing = [_Missing()] * len(node.output)
        if any(isinstance(o, _Missing) for o in operands):
            return nothing
        unknown = next((name for name, operand in zip(node.input, operands) if name and operand is None), None)
        if unknown is not None:  # not to be taken for an operand that is left out
            self.problems.append(f"{label(index, node, self.model)} reads {unknown!r}, a result that tgraph does not compute")
            return nothing
        version = self.model.opsets.get(_domain(node), 1)
        call = OnnxNode(node, index, version, operands, scope)
        try:
            known = evaluate(call) or evaluate_ramps(call)
            if known is not None:
                return known
            result = decided(call, self.tensor)
            if result is not None:
                return [result]
            found = find(_domain(node), node.op_type, version)
            if found is None:
                raise UnsupportedError("is not an op that tgraph imports")
            results = found.function(call, *[o if o is None else self.tensor(o) for o in operands])
            return list(results) if isinstance(results, (tuple, list)) else [results]
        except Exception as error:  # what a node asks for may be wrong in any way
            text = str(error).split("\n  at ")[0]
            text = text if isinstance(error, TGraphError) else f"its attributes or inputs do not fit: {error}"
            domain = f"{_domain(node)}." if _domain(node) else ""
            problem = f"{label(index, node, self.model)}, {domain}{node.op_type} of opset {version}: {text}"
            self.problems.append(problem)
            if isinstance(error, UnsupportedError) and error.operand is not None:
                self.wanted[problem] = _inputs_of(operands[error.operand])
            return nothing

    def tensor(self, value: Any) -> Tensor:
        """A value as a tensor of the graph; a sequence of tensors as it is."""
        if isinstance(value, (Ramp, Columns)):
            if value not in self.ramps:
                self.ramps[value] = as_tensor(value) if isinstance(value, Ramp) else columns_as_tensor(value)
            return self.ramps[value]
        if isinstance(value, Known):
            return Tensor(self.graph.constant(value.array), self.tracer) if value.is_constant else self._sizes(value)
        found: Tensor = value
        return found

    def _sizes(self, value: Known) -> Tensor:
        """Symbolic sizes as a tensor of integers."""
        dtype = dtype_of(value.dtype)
        flat: list[Tensor] = [
            apply("dim_size", size=d, dtype=dtype) if isinstance(d, Dim)
            else Tensor(self.graph.constant(np.asarray(d, dtype.numpy)), self.tracer)
            for d in value.array.reshape(-1).tolist()]
        if not value.array.ndim:
            return flat[0]
        parts = [apply("unsqueeze", f, axes=(0,)) for f in flat]
        joined = apply("concat", *parts, axis=0) if len(parts) > 1 else parts[0]
        made: Tensor = joined if value.array.ndim == 1 else apply("reshape", joined, shape=value.array.shape)
        return made


def _inputs_of(operand: Any) -> list[str]:
    """The inputs whose elements a value is computed from."""
    found: list[str] = []
    seen, left = set(), [operand.value] if isinstance(operand, Tensor) else []
    while left:
        value = left.pop()
        if value in seen:
            continue
        seen.add(value)
        if isinstance(value, Result):
            left += [o for o in value.node.operands if o is not None]
        elif isinstance(value, Input):
            found.append(value.name)
    return found


class _Missing:
    """The result of a node that failed."""


def _is_weight(array: np.ndarray) -> bool:
    if array.dtype.kind in "iu":
        return array.dtype.itemsize == 1 and array.ndim >= 2
    if array.dtype.kind == "b" or array.size <= 1:
        return False
    flat = array.reshape(-1)
    step = max(1024, flat.size // 16)  # a few pieces of a mapped file, so that the rest of it is not read
    return array.ndim < 2 or not any((flat[i:i + 1024] <= EXCLUDED).any() for i in range(0, flat.size, step))


def _require_known_ops(model: Model) -> None:
    """Raises FormatError that lists every node whose op is not there, with what to do."""
    missing: dict[str, list[str]] = {}
    for index, node in _all_nodes(model.graph):
        domain, version = _domain(node), model.opsets.get(_domain(node), 1)
        if find(domain, node.op_type, version) is None:
            name = f"{domain}.{node.op_type}" if domain else node.op_type
            what = f"{name} (opset {version}): {_advice(domain, node.op_type)}"
            missing.setdefault(what, []).append(label(index, node, model))
    if missing:
        lines = [f"{what}: {', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"
                 for what, names in missing.items()]
        raise FormatError(f"{model.name} has ops that tgraph does not import:\n  " + "\n  ".join(lines))


def _advice(domain: str, op: str) -> str:
    if (domain, op) in IMPORTERS:
        return f"known from opset {min(i.since for i in IMPORTERS[domain, op])} on; convert the model with onnx.version_converter"
    return "not known; export the model without it, or say what it means (docs/onnx.md)"


def _all_nodes(graph: GraphProto) -> Iterator[tuple[int, NodeProto]]:
    for index, node in enumerate(graph.node):
        yield index, node
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _all_nodes(inner)


def _domain(node: NodeProto) -> str:
    return "" if node.domain == "ai.onnx" else node.domain


def label(index: int, node: NodeProto, model: Model) -> str:
    """A node's name, or else its number; of one that torch exported just now, its module and line."""
    origin = origin_of(index, node, model).describe() if model.from_torch else ""
    return origin or node.name or f"node {index}"


def origin_of(index: int, node: NodeProto, model: Model) -> Provenance:
    """Where a node belongs: the module and the line of Python that torch's exporter notes; else its name, and its place in the
    file."""
    scope = scope_of_node(node)
    if not model.from_torch:
        return Provenance((scope or node.name or f"{node.op_type}_{index}",), (Location(model.name, index),))
    line = line_of_node(node)
    return Provenance((scope,) if scope else (), (line,) if line else ())


# Sizes

def symbolic(name: str) -> DimLike:
    """The size that a model's name stands for: an expression, or a dim of that name."""
    try:
        return parse_dim(name)
    except (ParseError, RuleError, RecursionError):
        return dim(_plain(name) or "D")


def _plain(name: str) -> str:
    """A name in letters, digits and underscores."""
    plain = re.sub(r"\W+", "_", name).strip("_")
    return f"d{plain}" if plain[:1].isdigit() else f"{plain}_" if plain in RESERVED else plain


def _as_named(model: Model) -> dict[str, DimLike]:
    """The sizes that the model's inputs name."""
    shapes = [i.type.tensor_type.shape.dim for i in model.graph.input if i.type.HasField("tensor_type")]
    return {d.dim_param: symbolic(d.dim_param) for shape in shapes for d in shape if d.dim_param}


def _equal_symbols(graph: Graph) -> dict[str, DimLike]:
    """Dims that the graph requires to be equal to another, each with that one."""
    inputs = {s.name for i in graph.inputs for d in i.shape for s in symbols(d)}
    found: dict[str, DimLike] = {}
    for left, right in graph.constraints:
        kept, other = as_symbol(substitute(left, found)), as_symbol(substitute(right, found))
        if kept is not None and other is not None and kept.name != other.name and {kept.name, other.name} <= inputs:
            found = {name: substitute(size, {other.name: dim(kept.name)}) for name, size in found.items()}
            found[other.name] = dim(kept.name)
    return found
