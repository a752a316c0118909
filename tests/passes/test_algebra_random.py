"""Random chains of arithmetic and views through the algebraic passes: what they promise holds for each.

    pytest tests/passes/test_algebra_random.py --graphs 5000      as many as one likes (default 300, a fifth of them here)
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from passes import optimize
from tgraph.ir.errors import TGraphError
from tgraph.reference import generate_inputs, run

B, S = tg.dim("B", min=1), tg.dim("S", min=4)
NUMBERS = [0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -0.0, 1e-3, math.sqrt(2), 8.0]
PASSES = ["canonicalize", "simplify", "eliminate-transposes", "decompose"]
ALL = ("decompose,canonicalize,simplify,cse,fuse-softmax,fuse-layer-norm,fuse-rms-norm,fuse-gelu,fuse-silu,"
       "eliminate-transposes,dce")


class Drawn:
    """The choices of one seed, and the values at hand."""

    def __init__(self, seed: int, values: list[Any], conditions: list[Any]):
        self.random = random.Random(seed)
        self.values, self.conditions = values, conditions

    def number(self) -> Any:
        """A number, as a scalar or as a constant of one value; or a vector."""
        number, kind = self.random.choice(NUMBERS), self.random.random()
        if kind < 0.6:
            return number
        if kind < 0.8:
            return np.full(self.random.choice([(1,), (1, 1), (4,)]), number, np.float32)
        return np.array([1, 2, 3, 4], np.float32)

    def reshaped(self, x: Any) -> Any:
        shape = list(x.shape)
        kind = self.random.randrange(4)
        if kind == 0:
            shape.insert(self.random.randint(0, len(shape)), 1)
        elif kind == 1 and 1 in shape:
            shape.remove(1)
        elif kind == 2:
            shape[:2] = [shape[0] * shape[1]] if len(shape) > 1 else shape
        else:
            shape.reverse()
        return x.reshape(*shape)

    def condition(self, x: Any, y: Any) -> None:
        compare = self.random.choice([tg.less, tg.greater_or_equal, tg.equal])
        self.conditions.append(compare(*self.random.sample([x, y, 0.5], 2)))
        self.conditions.append(~self.random.choice(self.conditions))

    def step(self) -> None:
        """One more value. Raises TGraphError where the ops do not fit."""
        r, x, y = self.random, self.random.choice(self.values), self.random.choice(self.values)
        axis = r.randrange(x.rank) if x.rank else 0
        steps: list[Callable[[], Any]] = [
            lambda: x + self.number(), lambda: self.number() * x, lambda: x - self.number(), lambda: -x,
            lambda: x / r.choice([1.0, 2.0, 3.0, 8.0, -1.0]), lambda: x + y, lambda: x * y, lambda: x - y,
            lambda: x.transpose(*r.sample(range(x.rank), x.rank)), lambda: self.reshaped(x),
            lambda: tg.unsqueeze(x, axes=r.randint(0, x.rank)), lambda: tg.squeeze(x, axes=axis),
            lambda: r.choice([tg.reduce_sum, tg.reduce_mean, tg.reduce_max])(x, axes=axis, keepdims=r.random() < 0.6),
            lambda: r.choice([tg.exp, tg.tanh, tg.abs, tg.relu, tg.square, tg.floor, tg.sigmoid])(x),
            lambda: tg.softmax(x, axis=axis), lambda: tg.where(r.choice(self.conditions), x, y),
            lambda: tg.concat(x, y, axis=axis), lambda: r.choice(tg.split(x, sizes=r.choice([(1, 3), (2, 2), 4]))),
            lambda: x[..., r.randint(0, 2):], lambda: tg.maximum(x, r.choice([y, 0.0])),
            lambda: tg.matmul(x, y.transpose(*range(y.rank - 2), y.rank - 1, y.rank - 2)),
            lambda: tg.expand(x, shape=r.choice([(2, *x.shape), x.shape])), lambda: self.condition(x, y),
            lambda: tg.cast(tg.cast(x, dtype=r.choice([tg.f64, tg.f32])), dtype=tg.f32),
            lambda: tg.layer_norm(x, epsilon=1e-3)]
        made = r.choice(steps)()
        if made is not None and 0 < made.rank <= 5:
            self.values.append(made)


def graph_of(seed: int) -> tg.Graph:
    def function(x: Any, z: Any, m: Any, c: Any) -> dict[str, Any]:
        drawn = Drawn(seed, [x, z, x * 0.5], [m, c])
        for _ in range(drawn.random.randint(3, 16)):
            try:
                drawn.step()
            except (TGraphError, ValueError, IndexError):  # the ops drawn do not fit: another step
                continue
        outputs = drawn.random.sample(drawn.values, min(3, len(drawn.values)))
        return {**{f"y{i}": v for i, v in enumerate(outputs)}, "last": drawn.values[-1], "c": drawn.conditions[-1]}

    return tg.trace(function, x=tg.f32[B, S, 4], z=tg.f32[B, S, 4], m=tg.bool_[B, S, 1], c=tg.bool_[B, S, 4])


def transposes(graph: tg.Graph) -> int:
    return sum(n.op.name == "transpose" for n in graph.nodes)


def check(graph: tg.Graph, pipeline: str, feeds: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    after = optimize(graph, pipeline, verify_each=True)
    assert str(tg.parse(str(after))) == str(after)
    assert [(n, v.type) for n, v in after.outputs] == [(n, v.type) for n, v in graph.outputs]
    if pipeline in PASSES:
        assert str(optimize(after, pipeline)) == str(after), "a second run changes it again"
    if pipeline == "eliminate-transposes":
        assert transposes(after) <= transposes(graph)
    found = run(after, feeds)
    for name, r in expected.items():
        y = found[name]
        if pipeline == "simplify":  # exact
            np.testing.assert_array_equal(y, r)
        elif r.dtype.kind == "f":
            tame = np.isfinite(r) & (np.abs(r) < 1e6)  # rounding before an exponential is another number after it
            assert np.abs(y - r)[tame].max(initial=0) <= 1e-4 * max(1.0, np.abs(r[tame]).max(initial=0)), name


def test_random_algebra(request: pytest.FixtureRequest) -> None:
    checked = 0
    for seed in range(int(request.config.getoption("--graphs")) // 5):
        graph = graph_of(seed)
        feeds = generate_inputs(graph, {"B": 2, "S": 4 + seed % 2}, seed=seed)
        try:
            expected = run(graph, feeds)
        except TGraphError:  # a constraint that these sizes do not meet (S == 4)
            continue
        checked += 1
        for pipeline in (*PASSES, ALL):
            try:
                check(graph, pipeline, feeds, expected)
            except BaseException as error:
                raise AssertionError(f"seed {seed}, {pipeline}: {error}\n{graph}") from error
    assert checked > 20
