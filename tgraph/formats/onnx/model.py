"""An ONNX model as it is read: checked for what the importer relies on, with its initialisers mapped."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx
import numpy as np

from ...ir.array_shapes import is_array_shape
from ...ir.errors import FormatError
from ...ir.file_formats import is_file
from .wire import without_large_tensors

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

MOST_NODES, MOST_NESTED = 10**6, 50  # that functions of a model may stand for, and how deep they may call each other
Arrays = Mapping[str, Callable[[], np.ndarray]]  # what initialisers hold, by name


@dataclass(frozen=True)
class Model:
    """name: of the file, for messages. opsets: version by domain ("" is ONNX's own). initializers: of the main graph.

    from_torch: torch exported it in this process, so that its nodes have lines of Python's in place of numbers in a file.
    """

    name: str
    proto: ModelProto
    opsets: Mapping[str, int]
    initializers: Mapping[str, Initializer]
    from_torch: bool = False

    @property
    def graph(self) -> GraphProto:
        return self.proto.graph


@dataclass(frozen=True)
class Initializer:
    """A named array. `load` maps or makes it, and raises FormatError if the file does not hold it as it says.

    fixed: it is no parameter, whatever it looks like.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]
    fixed: bool = False


def read_model(source: str | os.PathLike[str] | bytes | ModelProto) -> Model:
    """A model from a file, bytes or the onnx package's message. Raises FormatError if it is damaged, OSError if there is none."""
    from onnx import ModelProto

    if isinstance(source, ModelProto):
        return _model(source, "the model", {}, b"", None)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _parse(np.frombuffer(source, np.uint8), "the model", None)
    path = Path(source)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    return _parse(np.frombuffer(content, np.uint8), path.name, path.parent)


def program_model(proto: ModelProto, name: str, arrays: Arrays, parameters: Container[str]) -> Model:
    """A model that torch's exporter made in this process.

    arrays: what is not in the message, by initialiser. parameters: what its checkpoints hold; other initialisers are constants.
    """
    made = _model(proto, name, {}, b"", None)
    initializers = {key: replace(found, load=arrays.get(key, found.load), fixed=key not in parameters)
                    for key, found in made.initializers.items()}
    return replace(made, initializers=initializers, from_torch=True)


def _parse(content: np.ndarray, name: str, folder: Path | None) -> Model:
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    try:
        small, places = without_large_tensors(content.data)
        proto = ModelProto.FromString(small)
    except (FormatError, DecodeError) as error:
        raise FormatError(f"{name} is no ONNX model, or is damaged: {error}") from None
    return _model(proto, name, places, content, folder)


def _model(proto: ModelProto, name: str, places: Mapping[int, tuple[int, int]], content: Any, folder: Path | None) -> Model:
    if not proto.HasField("graph") or not proto.opset_import:
        raise FormatError(f"{name} is no ONNX model: it has no {'opset' if proto.HasField('graph') else 'graph'}")
    _require_sound(proto.graph, name)
    initializers = {}
    for index, tensor in enumerate(proto.graph.initializer):
        if tensor.name in initializers:
            raise FormatError(f"{name} has two initialisers named {tensor.name!r}")
        place = places.get(index)
        raw = None if place is None else content[place[0]:place[0] + place[1]]
        initializers[tensor.name] = initializer(tensor, raw, name, folder)
    if proto.graph.sparse_initializer:
        raise FormatError(f"{name} has sparse initialisers, which tgraph does not read; export dense ones")
    if proto.functions:
        proto = _inlined(proto, name)
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import}
    return Model(name, proto, opsets, initializers)


def _require_sound(graph: GraphProto, name: str) -> None:
    """Raises FormatError for text that is no UTF-8, inputs of one name, and data in other files where tgraph takes none.

    The onnx package gives bytes in place of such text.
    """
    infos = [*graph.input, *graph.output]
    sizes = [d.dim_param for i in infos if i.type.HasField("tensor_type") for d in i.type.tensor_type.shape.dim]
    names = [graph.name, *(i.name for i in infos), *(t.name for t in graph.initializer), *sizes,
             *(e.value for t in graph.initializer for e in t.external_data)]
    for node in graph.node:
        names += [node.op_type, node.domain, node.name, *node.input, *node.output, *(a.name for a in node.attribute),
                  *(e.value for e in node.metadata_props)]
        for attribute in node.attribute:
            if any(t.data_location == t.EXTERNAL for t in (attribute.t, *attribute.tensors)):
                raise FormatError(f"{name}: node {node.name!r} ({node.op_type}) has an attribute whose data is in another file; "
                                  "tgraph reads those of initialisers: save the model with convert_attribute=False")
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _require_sound(inner, name)
    wrong = next((n for n in names if not isinstance(n, str)), None)
    if wrong is not None:
        raise FormatError(f"{name} is damaged: the name {wrong!r} is no UTF-8")
    twice = next((name for name, count in Counter(i.name for i in graph.input).items() if count > 1), None)
    if twice is not None:
        raise FormatError(f"{name} has two inputs named {twice!r}")


def _inlined(proto: ModelProto, name: str) -> ModelProto:
    """The model with the functions that it defines in place of their calls. Raises FormatError if these are too many nodes."""
    import onnx.inliner

    _require_small_functions(proto, name)
    try:
        return onnx.inliner.inline_local_functions(proto)
    except Exception as error:  # the package's own classes differ between versions
        raise FormatError(f"{name}: its functions cannot be put in place of their calls: {error}") from None


def _require_small_functions(proto: ModelProto, name: str) -> None:
    """Raises FormatError for functions that call themselves, nest too deep, or stand for too many nodes, as doublings do."""
    functions = {(f.domain, f.name, f.overload): f for f in proto.functions}
    counted: dict[tuple[str, str, str], int] = {}

    def count(nodes: Iterable[NodeProto], depth: int) -> int:
        if depth > MOST_NESTED:
            raise FormatError(f"{name} has functions that call themselves, or each other more than {MOST_NESTED} deep")
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            if key in functions and key not in counted:
                counted[key] = count(functions[key].node, depth + 1)
            total += counted.get(key, 1)
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    total += count(inner.node, depth + 1) if inner.node else 0
            if total > MOST_NODES:
                raise FormatError(f"{name} has functions that stand for more than {MOST_NODES} nodes")
        return total

    count(proto.graph.node, 0)
    for key, function in functions.items():
        if key not in counted:
            counted[key] = count(function.node, 1)


def initializer(tensor: TensorProto, raw: np.ndarray | None, name: str, folder: Path | None) -> Initializer:
    """A tensor of a model. `raw`: its elements, if they are not in the message; `folder`: where external data may lie."""
    import onnx.helper

    where = f"{name}: initialiser {tensor.name!r}"
    shape = tuple(tensor.dims)
    if not is_array_shape(shape, 16):
        raise FormatError(f"{where} has a shape that no array has, {str(list(shape))[:80]}")
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, ValueError, TypeError):
        raise FormatError(f"{where} has the unknown element type {tensor.data_type}") from None
    if dtype.hasobject:
        raise FormatError(f"{where} holds strings; tgraph has numbers and booleans: leave the text to the tokenizer")
    external = {entry.key: entry.value for entry in tensor.external_data} if tensor.data_location == tensor.EXTERNAL else None

    def load() -> np.ndarray:
        if external is not None:
            return _typed(_external(external, where, folder), dtype, shape, where)
        if raw is not None:
            return _typed(raw, dtype, shape, where)
        try:
            return np.asarray(onnx.numpy_helper.to_array(tensor)).reshape(shape)
        except Exception as error:  # of the package, for every kind of damage
            raise FormatError(f"{where} does not hold what it says: {error}") from None

    return Initializer(tensor.name, dtype, shape, load)


def _typed(raw: np.ndarray, dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> np.ndarray:
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if raw.size != expected:
        raise FormatError(f"{where} has {raw.size} bytes, {dtype}{list(shape)} takes {expected}")
    return raw.view(dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype).reshape(shape)


def _external(entry: Mapping[str, str], where: str, folder: Path | None) -> np.ndarray:
    """Bytes of a file in the model's folder, or beneath it. Raises FormatError for one elsewhere, or too short."""
    location = entry.get("location", "")
    if folder is None:
        raise FormatError(f"{where} lies in the file {location!r} beside the model; give the model's path, not its bytes")
    root = os.path.realpath(folder)
    path = "" if "\0" in location else os.path.realpath(os.path.join(root, location))
    if not location or Path(location).is_absolute() or not path or os.path.commonpath([root, path]) != root:
        raise FormatError(f"{where} lies in {location!r}, which is outside of the model's folder, so it is not read")
    try:
        if not is_file(Path(path)):  # a pipe would be waited for
            raise OSError("there is no such file")
        offset, length = int(entry.get("offset", "0")), entry.get("length")
        mapped = np.memmap(path, np.uint8, "r")
        size = mapped.size - offset if length is None else int(length)
    except (OSError, ValueError) as error:
        raise FormatError(f"{where} lies in {location!r}, which cannot be read: {error}") from None
    if offset < 0 or size < 0 or offset + size > mapped.size:
        raise FormatError(f"{where} has bytes {offset} to {offset + size} of {location!r}, which has {mapped.size}")
    found: np.ndarray = np.asarray(mapped[offset:offset + size])
    return found


def sorted_nodes(graph: GraphProto, known: Container[str], name: str) -> list[tuple[int, NodeProto]]:
    """The nodes and their numbers in the file, each after those that it reads.

    `known`: the names that are there before. Raises FormatError for a name that nothing gives, or two nodes give, and for cycles.
    """
    producers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for output in filter(None, node.output):
            if output in producers or output in known:
                raise FormatError(f"{name}: {_label(index, node)} gives {output!r}, which something else gives too")
            producers[output] = index
    edges = networkx.DiGraph()
    edges.add_nodes_from(range(len(graph.node)))
    for index, node in enumerate(graph.node):
        for read in filter(None, _reads(node)):
            if read in producers:
                edges.add_edge(producers[read], index)
            elif read not in known:
                raise FormatError(f"{name}: {_label(index, node)} reads {read!r}, which nothing gives")
    if all(a < b for a, b in edges.edges):
        return list(enumerate(graph.node))
    try:
        return [(i, graph.node[i]) for i in networkx.lexicographical_topological_sort(edges)]
    except networkx.NetworkXUnfeasible:
        cycle = networkx.find_cycle(edges)
        raise FormatError(f"{name}: {_label(cycle[0][0], graph.node[cycle[0][0]])} reads its own result") from None


def _reads(node: NodeProto) -> list[str]:
    """The names that a node reads, those that its subgraphs read from outside among them."""
    found = list(node.input)
    for attribute in node.attribute:
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            own = {i.name for i in (*graph.input, *graph.initializer)} | {o for n in graph.node for o in n.output}
            found += [read for inner in graph.node for read in _reads(inner) if read not in own]
            found += [o.name for o in graph.output if o.name not in own]
    return found


def _label(index: int, node: NodeProto) -> str:
    return f"node {index} ({node.op_type}{f' {node.name}' if node.name else ''})"
