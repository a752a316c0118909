"""Seconds of CPU time to compile, by the number of nodes: long chains of elementwise ops, cells unrolled over time, whole layers.

`python -m benchmarks.compile_time`; `--lengths 10,100` for fewer. Nothing is taken from the compile cache. The time should grow
with the nodes and no faster; the suite checks the size of what is emitted instead (`tests/targets/test_compile_time.py`).
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tgraph as tg
from tgraph import nn

N, S = tg.dims("N S")
STEPS: dict[str, Callable[[Any], Any]] = {
    "tanh": tg.tanh, "exp": tg.exp, "log": tg.log, "sqrt": tg.sqrt, "sin": tg.sin, "cos": tg.cos, "erf": tg.erf,
    "sigmoid": tg.sigmoid, "gelu": tg.gelu, "silu": tg.silu, "softplus": tg.softplus, "relu": tg.relu, "abs": tg.abs,
    "neg": lambda x: -x,
    "x ** 2.5": lambda x: x**2.5, "mish": lambda x: x * tg.tanh(tg.softplus(x)), "x + gelu(x)": lambda x: x + tg.gelu(x),
    "relu(x) - x": lambda x: tg.relu(x) - x, "0.9 x + 0.1": lambda x: x * 0.9 + 0.1, "x x + x": lambda x: x * x + x,
    "clip": lambda x: tg.clip(x, min=-1.0, max=1.0), "maximum": lambda x: tg.maximum(x, 0.5), "x mod 0.7": lambda x: x % 0.7,
    "where": lambda x: tg.where(x > 0, x, 0.5), "floor": tg.floor, "reciprocal": tg.reciprocal,
}  # fmt: skip


def lstm(x: Any) -> Any:
    """An LSTM cell of 32 units, 60 steps (Hochreiter and Schmidhuber, 1997)."""
    w, u = _weights(128)
    h = c = x[:, 0] * 0.0
    for t in range(60):
        i, f, g, o = tg.split(tg.linear(x[:, t], w) + tg.linear(h, u), sizes=(32,) * 4)
        c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
    return h


def gru(x: Any) -> Any:
    """A GRU cell of 32 units, 60 steps (arXiv:1406.1078)."""
    w, u = _weights(96)
    h = x[:, 0] * 0.0
    for t in range(60):
        (a, b, c), (d, e, f) = (tg.split(p, sizes=(32,) * 3) for p in (tg.linear(x[:, t], w), tg.linear(h, u)))
        z = tg.sigmoid(b + e)
        h = (1.0 - z) * tg.tanh(c + tg.sigmoid(a + d) * f) + z * h
    return h


def _weights(rows: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((rows, 32)).astype("f4") / 6 for _ in range(2)]


class Llama(nn.Module):
    """A stack of layers that compute their rotary angles from positions, as exported models do (arXiv:2104.09864)."""

    def __init__(self, layers: int):
        self.layers = [nn.EncoderLayer(64, 4, 128) for _ in range(layers)]

    def __call__(self, x: Any) -> Any:
        position = tg.cast(tg.range(stop=x.shape[1]), dtype=tg.f32)
        angle = position[:, None] * (1.0 / 10000.0 ** (tg.cast(tg.range(stop=8), dtype=tg.f32) * 0.125))[None, :]
        for layer in self.layers:
            heads = tg.transpose(tg.reshape(x, shape=(*x.shape[:2], 4, 16)), perm=(0, 2, 1, 3))
            turned = tg.rotary(heads, tg.cos(angle), tg.sin(angle))
            x = layer(x + tg.reshape(tg.transpose(turned, perm=(0, 2, 1, 3)), shape=x.shape))
        return x


def t5(q: Any, k: Any, v: Any, table: Any) -> Any:
    """Attention with T5's relative buckets, bidirectional (arXiv:1910.10683)."""
    i = tg.range(stop=q.shape[2])
    distance = i[None, :] - i[:, None]
    near = tg.abs(distance)
    far = 8 + tg.cast(tg.log(tg.cast(tg.maximum(near, 1), dtype=tg.f32) / 8.0) / np.float32(np.log(16.0)) * 8.0, dtype=tg.i64)
    bucket = tg.where(distance > 0, 16, 0) + tg.where(near < 8, near, tg.minimum(far, 15))
    return tg.attention(q, k, v, None, tg.transpose(tg.embedding(bucket, table), perm=(2, 0, 1))[None])


HEADS = tg.f32[N, 4, S, 16]
MODELS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "LSTM, 60 steps": (lstm, (tg.f32[N, 60, 32],)), "GRU, 60 steps": (gru, (tg.f32[N, 60, 32],)),
    "Llama's angles, 4 layers": (Llama(4), (tg.f32[N, S, 64],)), "Llama's angles, 32 layers": (Llama(32), (tg.f32[N, S, 64],)),
    "T5's buckets": (t5, (HEADS, HEADS, HEADS, tg.f32[32, 4])),
}  # fmt: skip


def repeated(step: Callable[[Any], Any], count: int) -> Callable[[Any], Any]:
    """`step` applied to its own result."""
    return lambda x: functools.reduce(lambda y, _: step(y), range(count), x)


def seconds(function: Callable[..., Any], specs: Sequence[Any]) -> tuple[int, float]:
    """Nodes as traced, and CPU time to compile them."""
    graph = tg.trace(function, *specs)
    start = time.process_time()
    tg.compile(graph, cache=False)
    return len(graph.nodes), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="10,100,1000,2000", help="steps of the chains; default: %(default)s")
    lengths = [int(n) for n in parser.parse_args().lengths.split(",")]
    console = Console()
    seconds(tg.relu, [tg.f32[N, 8]])  # TVM starts
    chains = Table("chain", *(f"{n} steps, s" for n in lengths), "ms a node", title="seconds of CPU time to compile")
    for name, step in STEPS.items():
        found = [seconds(repeated(step, n), [tg.f32[N, 8]]) for n in lengths]
        chains.add_row(name, *(f"{s:.2f}" for _, s in found), f"{1e3 * found[-1][1] / found[-1][0]:.2f}")
        console.print(f"  {name}: {found[-1][1]:.2f} s", style="dim")
    models = Table("model", "nodes", "s")
    for name, (function, specs) in MODELS.items():
        nodes, took = seconds(function, specs)
        models.add_row(name, str(nodes), f"{took:.2f}")
    console.print(chains, models)


if __name__ == "__main__":
    main()
