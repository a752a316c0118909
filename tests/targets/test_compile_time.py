"""Compile time is linear in nodes: what is counted are statements and kernels, not seconds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm_ffi import structural_walk

import tgraph as tg
from targets.base.target import Target
from targets.base.tvm_api import tirx
from targets.lowering.grouping import MAX_NODES, MAX_WORK
from targets.lowering.lower import emit_kernel
from targets.lowering.pipeline import kernel_graph
from tests.ops.samples import SAMPLES
from tgraph.ir.registry import OPS

N = tg.dim("N")
CPU = Target.parse("cpu")
LSTM, GRU = "lstm", "gru"


def repeated(step: Callable[[Any], Any], count: int) -> Callable[[Any], Any]:
    return lambda x: functools.reduce(lambda y, _: step(y), range(count), x)


def elementwise_chains() -> dict[str, tuple[Callable[[Any], Any], Any]]:
    """For each elementwise op, what applies it to a value of some type and gives one of that type."""
    chains: dict[str, tuple[Callable[[Any], Any], Any]] = {}
    for name, op in OPS.items():
        if not op.elementwise or name == "cast" or op.infer.__module__.startswith("test"):
            continue
        logical = name.startswith("logical")
        dtype = tg.bool_ if logical else tg.f32
        operands = len(op.operands)

        def step(x: Any, name: str = name, operands: int = operands, dtype: Any = dtype) -> Any:
            apply = getattr(tg, name)
            y = apply(x > 0, x, x) if name == "where" else apply(*[x] * operands)
            return y if y.dtype == dtype else tg.cast(y, dtype=dtype)

        chains[name] = step, dtype[N, 8]
    return chains


CHAINS = elementwise_chains()
COMPOSED = {
    "x + gelu(x)": lambda x: x + tg.gelu(x), "relu(x) - x": lambda x: tg.relu(x) - x,
    "mish": lambda x: x * tg.tanh(tg.softplus(x)),
    "silu(x) / 2 + x": lambda x: tg.silu(x) / 2 + x, "softplus": tg.softplus,
    "x + x^T": lambda x: tg.tanh(x) + tg.transpose(x, perm=(1, 0)), "x + reversed": lambda x: x * 0.5 + x[:, ::-1],
    "joined and cut": lambda x: tg.concat(x * 0.5, tg.tanh(x), axis=1)[:, 4:12],
}  # fmt: skip


def statements(function: Any) -> int:
    found: list[Any] = []
    structural_walk(function, [((tirx.Bind, tirx.BufferStore), found.append)])
    return len(found)


def emitted(build: Callable[[Any], Any], spec: Any) -> tuple[int, int, list[int]]:
    """Nodes of a program, kernels that are called, and the statements of each kernel that is emitted."""
    graph = tg.trace(build, x=spec)
    kernels = kernel_graph(graph, CPU)
    return len(graph.nodes), len(kernels.nodes), [statements(emit_kernel(f, CPU)) for f in kernels.functions.values()]


@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_an_elementwise_op(name: str) -> None:
    step, spec = CHAINS[name]
    nodes, calls, sizes = emitted(repeated(step, 2000), spec)
    assert calls <= 1 + nodes // 4, "fused as far as kernels may grow"
    assert len(sizes) <= 4, "a chain's kernels are the same, but for its ends"
    assert sum(sizes) <= 4 * 4 * (MAX_NODES + MAX_WORK)


@pytest.mark.parametrize("name", COMPOSED)
def test_values_that_are_used_twice(name: str) -> None:
    per_node = []
    for count in (10, 100, 1000):
        square = "T" in name
        nodes, calls, sizes = emitted(repeated(COMPOSED[name], count), tg.f32[16, 16] if square else tg.f32[N, 8])
        assert calls <= nodes and max(sizes) <= 60 * MAX_NODES
        per_node.append(sum(sizes) / nodes)
    assert per_node[2] <= 2 * per_node[0] + 1


@pytest.mark.parametrize("op", ["tanh", "gelu", "sub", "where", "logical_xor"])
def test_long_chains_compile_and_are_right(op: str) -> None:
    step, spec = CHAINS[op]
    graph = tg.trace(repeated(step, 300), x=spec)
    exe = tg.compile(graph, cache=False)
    x = np.random.default_rng(0).standard_normal((3, 8))
    x = x > 0 if spec.dtype == tg.bool_ else x.astype("f4")
    assert np.allclose(exe(x), tg.compile(graph, "numpy", level="O0")(x), atol=1e-5)


def lstm(x: Any, h: Any, c: Any, w: Any, u: Any) -> tuple[Any, Any]:
    i, f, g, o = tg.split(tg.linear(x, w) + tg.linear(h, u), sizes=(16,) * 4)
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    return tg.sigmoid(o) * tg.tanh(c), c


def gru(x: Any, h: Any, w: Any, u: Any) -> Any:
    (a, b, c), (d, e, f) = (tg.split(t, sizes=(16,) * 3) for t in (tg.linear(x, w), tg.linear(h, u)))
    reset, update = tg.sigmoid(a + d), tg.sigmoid(b + e)
    return (1.0 - update) * tg.tanh(c + reset * f) + update * h


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_recurrent_cells_unrolled(cell: str) -> None:
    rng = np.random.default_rng(1)
    w, u = (rng.standard_normal((64 if cell == LSTM else 48, 16)).astype("f4") / 4 for _ in "wu")

    def model(x: Any) -> Any:
        h, c = x[:, 0] * 0.0, x[:, 0] * 0.0
        for t in range(60):
            if cell == LSTM:
                h, c = lstm(x[:, t], h, c, w, u)
            else:
                h = gru(x[:, t], h, w, u)
        return h

    graph = tg.trace(model, x=tg.f32[N, 60, 16])
    exe = tg.compile(graph, cache=False)
    assert len(exe.kernels.functions) <= 75, "one kernel a kind of step, not one a step; each step reads x at a place of its own"
    x = rng.standard_normal((2, 60, 16)).astype("f4")
    assert np.allclose(exe(x), tg.compile(graph, "numpy", level="O0")(x), atol=1e-4)


def test_samples_cover_the_chains() -> None:
    assert set(CHAINS) <= {s.op for s in SAMPLES}
