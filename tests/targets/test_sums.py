"""Sums of millions of f32 on the CPU: their errors do not grow with their length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn

B, N, M = tg.dims("B N M")
MANY = 5_000_000
VALUE = np.float32(0.1)  # alike, so that the errors of a chain of additions are alike too, and do not cancel
BLOCK = 128 * 2.0**-24  # what docs/precision.md promises of sums, with some roundings more
FOLD = 16 * 2.0**-24


def error(result: Any, expected: float) -> float:
    return float(np.abs(np.asarray(result, np.float64) / expected - 1).max())


@pytest.mark.parametrize("shape", [(1, MANY), (MANY, 1), (3, MANY // 3), (MANY // 19, 19)], ids=str)
def test_along_rows_and_down_columns(shape: tuple[int, int]) -> None:
    graph = tg.trace(lambda x: (tg.reduce_mean(x, axes=-1), tg.reduce_mean(x, axes=0), tg.reduce_sum(x)), x=tg.f32[B, N])
    rows, columns, total = tg.compile(graph)(np.full(shape, VALUE))
    assert error(rows, VALUE) <= BLOCK + FOLD
    assert error(columns, VALUE) <= BLOCK + FOLD
    assert error(total, float(VALUE) * shape[0] * shape[1]) <= BLOCK + FOLD


def test_running_sums() -> None:
    x = np.full((1, MANY), VALUE)
    (y,) = tg.compile(tg.trace(lambda x: tg.cumsum(x, axis=-1), x=tg.f32[B, N]))(x)
    assert error(y, np.arange(1, MANY + 1) * float(VALUE)) <= 2.0**-23


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "rms_norm"])
def test_rows_that_are_scaled_by_a_sum(name: str) -> None:
    x = np.full((1, MANY), VALUE)
    x[:, ::2] = -VALUE
    kind: Callable[..., Any] = getattr(tg, name)
    (y,) = tg.compile(tg.trace(lambda x: kind(x), x=tg.f32[B, N]))(x)
    powers = np.exp(x[0, :2].astype(np.float64))
    expected = powers / powers.mean() / MANY if name == "softmax" else x[0, :2] / np.sqrt(float(VALUE) ** 2 + 1e-6)
    if name == "layer_norm":
        expected = x[0, :2] / np.sqrt(float(VALUE) ** 2 + 1e-5)
    assert error(y.reshape(-1, 2), expected) <= BLOCK + FOLD


@pytest.mark.parametrize("keys", [10_000, 100_000])
@pytest.mark.parametrize("empty", [False, True])
def test_attention_over_very_many_keys(keys: int, empty: bool) -> None:
    """All alike; and, `empty`, none of them allowed, so that the result is the mean of all values."""
    q, k = tg.f32[1, 1, 1, 8], tg.f32[1, 1, N, 8]
    graph = tg.trace(lambda q, k, v, m: tg.attention(q, k, v, m, empty_row="uniform"), q=q, k=k, v=k, m=tg.bool_[1, N])
    arrays = np.zeros((1, 1, 1, 8), np.float32), np.zeros((1, 1, keys, 8), np.float32), np.full((1, 1, keys, 8), VALUE)
    y = tg.compile(graph)(*arrays, np.full((1, keys), not empty))
    assert error(y, VALUE) <= 2 * (132 + keys / 132) * 2.0**-24


def test_products_over_a_long_axis() -> None:
    depth = 1_000_000
    graph = tg.trace(lambda x, y: x @ y, x=tg.f32[M, N], y=tg.f32[N, B])
    x = np.full((3, depth), VALUE)
    y = tg.compile(graph)(x, np.full((depth, 5), VALUE))
    assert error(y, float(VALUE) ** 2 * depth) <= (256 + depth / 256) * 2.0**-24


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_products_with_long_weights(rows: int) -> None:
    """Few rows, for which there is a loop of its own, and many give the same bits."""
    depth = 40_000
    weight = np.random.default_rng(0).normal(size=(20, depth)).astype(np.float32)
    layer = nn.Linear(depth, 20, bias=False)
    layer.load_weights({"weight": weight})
    graph = tg.trace(layer, x=tg.f32[B, depth])
    x = np.random.default_rng(1).normal(size=(9, depth)).astype(np.float32)
    exe = tg.compile(graph)
    y = exe(x)
    expected = x.astype(np.float64) @ weight.T.astype(np.float64)
    scale = np.abs(x.astype(np.float64)) @ np.abs(weight.T.astype(np.float64))
    assert (np.abs(y - expected) / scale).max() <= (768 + depth / 256) * 2.0**-24
    assert np.array_equal(exe(x[:rows]), y[:rows])


def test_the_reference_at_the_precision_of_f32() -> None:
    graph = tg.trace(lambda x: (tg.reduce_mean(x, axes=0), tg.cumsum(x, axis=0)), x=tg.f32[N, 1])
    mean, running = tg.compile(graph, "numpy")(np.full((MANY // 5, 1), VALUE))
    assert error(mean, VALUE) <= 2.0**-23
    assert error(running, np.arange(1, MANY // 5 + 1)[:, None] * float(VALUE)) <= 2.0**-23
