"""Hypothesis strategies for dims, types, names and whole graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike, dim
from tgraph.ir.dtypes import bf16, bool_, f16, f32, f64, i8, i32, i64, u8
from tgraph.ir.graph import Graph
from tgraph.ir.location import Location, Provenance
from tgraph.ir.registry import get_op
from tgraph.ir.types import TensorType

B, S = dim("B"), dim("S", min=1, max=512)
SYMBOLS = (dim("B"), dim("S"), dim("T"))

names = st.one_of(
    st.sampled_from(["x", "hidden", "layer.0.weight", "0", "0.bias", "in", "at", "where", "return", "param", "graph",
                     "f32",
                     "sha256", "none", "a-b", "a b", 'say "hi"', "back\\slash", "line\nbreak", "tab\t",
                     "\u00fc\u540d", "", ".", "x."]),
    st.text(max_size=6),
)

dims = st.recursive(
    st.one_of(st.integers(-4, 9), st.sampled_from(SYMBOLS)),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
        st.tuples(inner, inner).map(lambda p: p[0] - p[1]),
        st.tuples(inner, inner).map(lambda p: p[0] * p[1]),
        st.tuples(inner, st.integers(1, 5)).map(lambda p: p[0] // p[1]),
        st.tuples(inner, st.integers(1, 5)).map(lambda p: p[0] % p[1]),
    ),
    max_leaves=6,
)

provenances = st.builds(
    Provenance,
    st.lists(st.sampled_from(["encoder", "encoder.layer.0", "encoder.layer.1.attention", "a b", "0"]),
             unique=True, max_size=2).map(tuple),
    st.lists(st.builds(Location, st.sampled_from(["model.py", "my model.py", "/somewhere/else/model.py"]),
                       st.integers(1, 999)), unique=True, max_size=2).map(tuple),
)

SHAPE = (B, S, 4)


@st.composite
def constants(draw: Any, dtype: Any = None) -> np.ndarray:
    """Arrays of any element type, with the values that are hard to write."""
    dtype = draw(st.sampled_from([f16, bf16, f32, f64, i8, u8, i32, i64, bool_])) if dtype is None else dtype
    shape = draw(st.sampled_from([(), (1,), (4,), (2, 2), (0,), (2, 0, 3), (17,), (5, 4)]))
    if dtype.is_bool:
        element = st.booleans()
    elif dtype.is_float:
        element = st.one_of(st.floats(allow_nan=False, width=16), st.sampled_from([np.inf, -np.inf, -0.0, 0.1, 1e-7]))
    else:
        info = np.iinfo(dtype.numpy)
        element = st.integers(int(info.min), int(info.max))
    count = int(np.prod(shape))
    return np.array(draw(st.lists(element, min_size=count, max_size=count)), dtype=dtype.numpy).reshape(shape)


@st.composite
def graphs(draw: Any, *, functions: bool = True, name: str = "main") -> Graph:
    """A valid graph of up to a dozen nodes: leaves of all kinds, several results, functions, scopes, dead nodes."""
    graph = Graph(name)
    input_names = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    values = [graph.input(n, TensorType(f32, SHAPE)) for n in input_names]
    weights = draw(st.lists(names, max_size=2, unique=True))
    called = [draw(graphs(functions=False, name=f"f{i}")) for i in range(draw(st.integers(0, 2)))] if functions else []
    for _ in range(draw(st.integers(0, 9))):
        b = Builder(graph, draw(provenances))
        kind = draw(st.sampled_from(["relu", "add", "parameter", "scalar", "constant", "split", "layer_norm",
                                     "reshape", "call"]))
        x, y = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        if kind == "relu":
            values.append(b.relu(x))
        elif kind == "add":
            values.append(b.add(x, y))
        elif kind == "parameter" and weights:
            values.append(b.mul(x, graph.parameter(draw(st.sampled_from(weights)), f32[4])))
        elif kind == "scalar":
            values.append(b.mul(x, draw(st.floats(width=32, allow_nan=False))))
        elif kind == "constant":
            array = draw(constants(f32).filter(lambda a: a.shape in ((), (1,), (4,))))
            values.append(b.add(x, graph.constant(array)))
        elif kind == "split":
            left, right = b.split(x, sizes=(1, 3), axis=-1)
            values.append(b.concat(right, left, axis=-1))
        elif kind == "layer_norm":
            values.append(b.layer_norm(x, epsilon=draw(st.sampled_from([1e-5, 1e-12]))))
        elif kind == "reshape":
            values.append(b.reshape(b.reshape(x, shape=(B * S, 4)), shape=SHAPE))
        elif kind == "call" and called:
            function = draw(st.sampled_from(called))
            result = graph.insert(get_op("call"), [draw(st.sampled_from(values)) for _ in function.inputs],
                                  {"function": function}, b.provenance)
            values.append(result[0] if isinstance(result, tuple) else result)
    if draw(st.booleans()):
        graph.parameter("unused", f32[2, 3])
    for output in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        graph.outputs.append((output, draw(st.sampled_from(values))))
    graph.set_outputs(graph.outputs)
    return graph


def evaluate_dim(value: DimLike, sizes: dict[str, int]) -> int:
    """An expression by Python's own integers, from its text."""
    return int(eval(str(value), {"__builtins__": {}}, dict(sizes)))
