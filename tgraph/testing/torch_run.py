"""The same program in PyTorch, op by op, floats in float64: another reading of what each op means.

Ops without a meaning in `torch_ops` and `torch_recurrent` are named, and a program that has one is not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tgraph.ir.binding import bind_shape
from tgraph.ir.dims import Dim, evaluate
from tgraph.ir.dtypes import DType
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Parameter, Value
from tgraph.testing import torch_recurrent as torch_recurrent  # registers its ops
from tgraph.testing.torch_ops import AVAILABLE, RUN

if AVAILABLE:
    import torch


def run(graph: Graph, feeds: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Outputs by name, and the ops without a mapping (then there are no outputs)."""
    blocks = (graph, *graph.functions.values())
    unmapped = tuple(sorted({n.op.name for b in blocks for n in b.nodes} - {*RUN, "call"}))
    if unmapped:
        return {}, unmapped
    torch.set_num_threads(1)
    sizes: dict[str, int] = {}
    inputs = [tensor(feeds[i.name]) for i in graph.inputs]
    return dict(zip([n for n, _ in graph.outputs], [t.numpy() for t in apply(graph, inputs, sizes)])), ()


def tensor(array: np.ndarray) -> Any:
    wide = array.astype(np.float64) if array.dtype.kind not in "iub" else array
    return torch.from_numpy(np.array(wide, copy=True))


def apply(graph: Graph, inputs: list[Any], sizes: dict[str, int]) -> list[Any]:
    """The results of a graph or function."""
    values: dict[Value, Any] = {}

    def bind(value: Value, made: Any) -> None:
        values[value] = made
        bind_shape(value.type, made.shape, sizes, str(value))

    def read(value: Value | None) -> Any:
        if isinstance(value, Parameter):
            return tensor(np.asarray(graph.weights[value.name]))
        if isinstance(value, Constant):
            return tensor(np.asarray(value.data))
        return None if value is None else values[value]

    for given, made in zip(graph.inputs, inputs):
        bind(given, made)
    for node in graph.nodes:
        attrs = {k: plain(v, sizes) for k, v in node.attrs.items()}
        operands = [read(v) for v in node.operands]
        function = attrs.get("function")
        made = apply(function, operands, {}) if isinstance(function, Graph) else RUN[node.op.name](*operands, **attrs)
        results = list(made) if isinstance(made, (tuple, list)) else [made]
        for value, result in zip(node.results, results):
            bind(value, result.to(kind(value.dtype)))
    return [read(v) for _, v in graph.outputs]


def plain(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, Dim):
        return evaluate(value, sizes)
    if isinstance(value, DType):
        return kind(value)
    return tuple(plain(v, sizes) for v in value) if isinstance(value, tuple) else value


def kind(dtype: DType) -> Any:
    return torch.float64 if dtype.is_float else getattr(torch, dtype.numpy_name)
