"""The ONNX graph as it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ....ir.dims import DimLike, Quotient, Symbol, as_symbol, linear_in, symbols
from ....ir.dtypes import DType, i64
from ....ir.errors import FormatError
from ....ir.graph import Graph
from ....ir.values import Constant, Node, Value

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto


def number_of(dtype: DType) -> int:
    """ONNX's number of an element type."""
    import onnx.helper

    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype.numpy))


class GraphWriter:
    """Nodes and initialisers, with a name for each value. Sizes that only a call decides are read from shapes."""

    def __init__(self, graph: Graph, opset: int):
        self.graph: Graph = graph
        self.opset: int = opset
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._interned: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._emitted: dict[Any, Any] = {}  # equal nodes are one
        self._sources: dict[str, tuple[Value, int, DimLike]] = {}  # symbol -> whose axis has it, and the size of that axis
        self.scope = ""
        for value in graph.inputs:
            self.names[value] = self.fresh(value.name)
            self.learn(value)
        present = [f"present.{name}" if name in graph.states else name for name, _ in graph.outputs]
        self.outputs: list[str] = [self.fresh(name) for name in present]  # as no node may be called
        for parameter in graph.parameters.values():
            self.names[parameter] = self.fresh(parameter.name)

    def fresh(self, name: str) -> str:
        """A name that is not taken: the given one, or with a number."""
        found, number = name, 1
        while found in self._taken or not found:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found

    def name(self, value: Value) -> str:
        if value not in self.names:
            assert isinstance(value, Constant)
            if value.data is None:
                raise FormatError(f"graph {self.graph.name} cannot be exported: a constant sha256:{value.digest[:12]} has no "
                                  "data; read it with the .safetensors beside it")
            self.names[value] = self.constant(value.data)
        return self.names[value]

    def constant(self, array: Any, dtype: DType | None = None) -> str:
        """The name of an initialiser with these elements; equal ones are one."""
        array = np.asarray(array, None if dtype is None else dtype.numpy)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._interned:
            self._interned[key] = self.fresh("constant")
            self.constants[self._interned[key]] = array
        return self._interned[key]

    def emit(self, op: str, *operands: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node, if there is no equal one; the names of its results (one as it is)."""
        import onnx.helper

        while operands and not operands[-1]:
            operands = operands[:-1]
        key = (op, operands, outputs, repr(attributes))
        if key in self._emitted:
            return self._emitted[key]
        name = self.fresh(f"{self.scope}/{op}" if self.scope else op)
        results = [name] if outputs == 1 else [self.fresh(f"{name}_{i}") for i in range(outputs)]
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(onnx.helper.make_node(op, list(operands), results, name=name, domain=domain, **given))
        self._emitted[key] = results[0] if outputs == 1 else tuple(results)
        return self._emitted[key]

    # Sizes

    def learn(self, value: Value) -> None:
        """That the axes of a value tell sizes."""
        for axis, size in enumerate(value.shape):
            for symbol in symbols(size):
                known = self._sources.get(symbol.name)
                if known is None or (as_symbol(known[2]) is None and as_symbol(size) is not None):
                    self._sources[symbol.name] = value, axis, size

    def size(self, size: DimLike) -> str:
        """The name of an i64 of rank 0."""
        if isinstance(size, int):
            return self.constant(size, i64)
        total = ""
        for monomial, coefficient in size.terms:
            part = ""
            for factor, power in monomial:
                name = self._factor(factor)
                for _ in range(power):
                    part = name if not part else self.emit("Mul", part, name)
            if not part:
                part = self.constant(coefficient, i64)
            elif coefficient != 1:
                part = self.emit("Mul", part, self.constant(coefficient, i64))
            total = part if not total else self.emit("Add", total, part)
        return total

    def _factor(self, factor: Any) -> str:
        if isinstance(factor, Quotient):  # sizes are not negative, so that ONNX's division is ours
            return str(self.emit("Div", self.size(factor.numerator), self.size(factor.denominator)))
        assert isinstance(factor, Symbol)
        value, axis, whole = self._sources.get(factor.name, (None, 0, 0))
        if value is None:
            raise FormatError(f"graph {self.graph.name} cannot be exported: no input tells the size {factor.name}")
        extent = self.emit("Gather", self.emit("Shape", self.name(value)), self.constant(axis, i64), axis=0)
        if as_symbol(whole) is not None:
            return str(extent)
        parts = linear_in(whole, factor.name)
        if parts is None:
            raise FormatError(f"graph {self.graph.name} cannot be exported: {factor.name} does not follow from the size {whole}")
        slope, rest = parts
        return str(self.emit("Div", self.emit("Sub", extent, self.size(rest)), self.size(slope)))

    def sizes(self, sizes: Sequence[DimLike]) -> str:
        """The name of an i64 of rank 1."""
        if all(isinstance(s, int) for s in sizes):
            return self.constant(np.array(sizes, np.int64))
        parts: list[str] = []
        run: list[int] = []
        for size in (*sizes, None):
            if isinstance(size, int):
                run.append(size)
                continue
            if run:
                parts.append(self.constant(np.array(run, np.int64)))
                run = []
            if size is not None:
                parts.append(self.emit("Reshape", self.size(size), self.constant(np.array([1], np.int64))))
        return parts[0] if len(parts) == 1 else str(self.emit("Concat", *parts, axis=0))


@dataclass
class WrittenNode:
    """A node of ours as the functions of the table see it."""

    node: Node
    to: GraphWriter

    def __getitem__(self, attribute: str) -> Any:
        return self.node.attrs[attribute]

    @property
    def type(self) -> Any:
        """Of the first result."""
        return self.node.results[0].type

    def operand(self, position: int) -> Any:
        """The type of an operand."""
        return self.node.inputs[position].type

    @property
    def opset(self) -> int:
        return self.to.opset

    def emit(self, op: str, *operands: str, **attributes: Any) -> Any:
        return self.to.emit(op, *operands, **attributes)

    def sizes(self, sizes: Sequence[DimLike]) -> str:
        return self.to.sizes(sizes)

    def array(self, values: Any, dtype: DType = i64) -> str:
        return self.to.constant(np.asarray(values, dtype.numpy))

    def number(self, value: Any, dtype: DType) -> str:
        """A scalar."""
        return self.to.constant(value, dtype)


def tensor(name: str, array: np.ndarray) -> TensorProto:
    """An initialiser that holds its elements."""
    import onnx
    import onnx.helper

    made = onnx.TensorProto(name=name, dims=array.shape, data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
    made.raw_data = np.ascontiguousarray(array).tobytes()
    return made


