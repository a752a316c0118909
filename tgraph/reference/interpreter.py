"""Running a graph node by node in NumPy, which defines what it means.

By default every float is a float64 and casts between floats do not round, so that the result is close to exact arithmetic;
integer casts do round. The faithful mode gives each value the precision of its type: ops compute in float32 or wider, and
each result is rounded to its type.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.binding import Sizes, bind_inputs, bind_shape, check_constraints, name_feeds
from ..ir.determined import dims_made_by
from ..ir.dims import Dim, evaluate
from ..ir.dtypes import DType, f32, f64
from ..ir.errors import CompileError, GraphError, InputError, RuleError
from ..ir.graph import Graph
from ..ir.program import Program, only_graph
from ..ir.types import TensorType
from ..ir.values import Constant, Node, Parameter, Value

Observer = Callable[[Node, Sequence["np.ndarray | None"], Sequence[np.ndarray]], None]


class Interpreter:
    """Runs one graph. Subclass it, or give an `observer`, to see every node with its operands and results."""

    def __init__(self, graph: Graph, *, faithful: bool = False, weights: Mapping[str, np.ndarray] | None = None,
                 observer: Observer | None = None):
        self.graph: Graph = graph
        self.faithful: bool = faithful
        self.weights: Mapping[str, np.ndarray] = graph.weights if weights is None else weights
        self.observer = observer

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Outputs by name. Raises InputError for feeds that do not fit, and names the node if one fails."""
        arrays, sizes = bind_inputs(self.graph, name_feeds(self.graph, (), feeds))
        return self.run_bound([arrays[i.name] for i in self.graph.inputs], sizes)

    def run_bound(self, inputs: Sequence[np.ndarray], sizes: Sizes) -> dict[str, np.ndarray]:
        """`run` without checks, for arrays in the order of the inputs that are known to fit."""
        values: dict[Value, np.ndarray] = {v: self.load(a, v.type) for v, a in zip(self.graph.inputs, inputs)}
        nodes = self.graph.nodes
        last_use = {v: i for i, node in enumerate(nodes) for v in node.inputs}
        kept = {v for _, v in self.graph.outputs}
        for position, node in enumerate(nodes):
            operands = [None if v is None else self.leaf(v, values) for v in node.operands]
            results = self.run_node(node, operands, sizes)
            values.update(zip(node.results, results))
            for value in node.inputs:
                if last_use[value] == position and value not in kept:
                    values.pop(value, None)
        return {name: self.leaf(v, values) for name, v in self.graph.outputs}

    def leaf(self, value: Value, values: Mapping[Value, np.ndarray]) -> np.ndarray:
        """The array of an input, result, parameter or constant; the last two are loaded on first use."""
        if isinstance(value, Parameter):
            if value.name not in self.weights:
                raise CompileError(f"parameter {value.name!r} has no data: a bundle holds the original weights only "
                                   "if it was saved with originals=True")
            return self.load(np.asarray(self.weights[value.name]), value.type)
        if isinstance(value, Constant):
            if value.data is None:
                raise CompileError(f"constant sha256:{value.digest} has no data; the file beside the text holds it")
            return self.load(value.data, value.type)
        return values[value]

    def load(self, array: np.ndarray, type: TensorType) -> np.ndarray:
        """An array at the precision that this mode computes in."""
        return array.astype(self.working(type.dtype).numpy, copy=False) if type.dtype.is_float else array

    def working(self, dtype: DType) -> DType:
        """The element type that stands for `dtype` between nodes and in attributes."""
        return f64 if dtype.is_float and not self.faithful else dtype

    def run_node(self, node: Node, operands: Sequence[np.ndarray | None], sizes: Sizes) -> tuple[np.ndarray, ...]:
        """Apply one node; binds the dims that its results introduce in `sizes`."""
        try:
            results = self.apply(node, operands, sizes)
            for result, value in zip(results, node.results):
                bind_shape(value.type, result.shape, sizes, f"the result of {node.op.name}")
            check_constraints(self.graph, sizes)
        except (InputError, RuleError) as error:  # RuleError: a size that no input says
            prefix = "" if str(error).startswith(f"{node.op.name}: ") else f"{node.op.name}: "
            raise InputError(f"{prefix}{error}{_where(node)}") from None
        except (ArithmeticError, IndexError, TypeError, ValueError) as error:
            shapes = ", ".join("none" if o is None else f"{o.dtype}{list(o.shape)}" for o in operands)
            raise InputError(f"{node.op.name}({shapes}): {error}{_where(node)}") from error
        if self.observer is not None:
            self.observer(node, operands, results)
        return results

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: Sizes) -> tuple[np.ndarray, ...]:
        """The node's NumPy meaning, with results in the working precision of their types."""
        function = node.attrs.get("function")
        if isinstance(function, Graph):
            return self._call(function, operands, sizes)
        if node.op.numpy is None:
            raise CompileError(f"op {node.op.name} has no NumPy meaning; give it one with @{node.op.name}.reference")
        attrs = {name: self.attribute(value, sizes) for name, value in node.attrs.items()}
        with np.errstate(all="ignore"):
            raw = node.op.numpy(*_apart(node, [None if o is None else self.widen(o) for o in operands]), **attrs)
            results = raw if isinstance(raw, tuple) else (raw,)
            return tuple(np.asarray(r).astype(self.working(v.type.dtype).numpy, copy=False)
                         for r, v in zip(results, node.results))

    def widen(self, array: np.ndarray) -> np.ndarray:
        """Half precisions compute in float32."""
        return array.astype(f32.numpy) if array.dtype.itemsize < 4 and array.dtype.kind in "fV" else array

    def attribute(self, value: Any, sizes: Sizes) -> Any:
        """An attribute with dims evaluated, and float dtypes at working precision."""
        if isinstance(value, Dim):
            return evaluate(value, sizes)
        if isinstance(value, DType):
            return self.working(value)
        if isinstance(value, tuple):
            return tuple(self.attribute(v, sizes) for v in value)
        return value

    def _call(self, function: Graph, operands: Sequence[np.ndarray | None], outer: Sizes) -> tuple[np.ndarray, ...]:
        sizes: Sizes = {}
        arrays = [o for o in operands if o is not None]
        for formal, array in zip(function.inputs, arrays):
            bind_shape(formal.type, array.shape, sizes, formal.name)
        made = {name for node in function.nodes for name in dims_made_by(node)}
        for name in outer.keys() - sizes.keys() - made:  # what no operand says is the caller's dim of that name
            sizes[name] = outer[name]
        return tuple(self._inner(function).run_bound(arrays, sizes).values())

    def _inner(self, function: Graph) -> Interpreter:
        """The interpreter of a function that this graph calls."""
        return type(self)(function, faithful=self.faithful, weights=self.weights)


def run(graph: Graph | Program, feeds: Mapping[str, Any], *, faithful: bool = False) -> dict[str, np.ndarray]:
    """Run a graph in NumPy; float64 throughout, or at each value's own precision if `faithful`."""
    graph = only_graph(graph, GraphError, "tg.reference.run(program[{name}], feeds)")
    return Interpreter(graph, faithful=faithful).run(feeds)


def _apart(node: Node, operands: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """The operands, copied where two share memory.

    NumPy computes x @ x.T by another algorithm, which rounds differently, if both are the same array; the result must not
    depend on whether two equal values are one array.
    """
    if node.op.elementwise:
        return operands
    seen: list[tuple[int, int]] = []  # where those before lie in memory, sorted
    for position, operand in enumerate(operands):
        if operand is not None and operand.size:
            low, high = _extent(operand)
            at = bisect.bisect_left(seen, (low, high))
            if (at < len(seen) and seen[at][0] < high) or (at and seen[at - 1][1] > low):
                operands[position] = operand = operand.copy()
                low, high = _extent(operand)
                at = bisect.bisect_left(seen, (low, high))
            seen.insert(at, (low, high))
    return operands


def _extent(array: np.ndarray) -> tuple[int, int]:
    """Where the elements of an array begin and end in memory."""
    steps = [stride * (size - 1) for stride, size in zip(array.strides, array.shape)]
    start = array.__array_interface__["data"][0]
    return start + sum(s for s in steps if s < 0), start + sum(s for s in steps if s > 0) + array.itemsize


def _where(node: Node) -> str:
    where = node.provenance.describe()
    return f"\n  {where}" if where else ""
