"""Values that are infinite or NaN: those of keys that a query may not attend take no part in its result, those of the others
do, side by side in one row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg

B, S = tg.dims("B S")
ODD = (np.nan, np.inf, -np.inf)


def feeds(seed: int, dtype: tg.DType, packed: bool) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    shape = (1, 9, 2, 4) if packed else (2, 2, 9, 4)
    q, k, v = (generator.normal(size=shape) for _ in range(3))
    v = np.where(generator.random(shape) < 0.2, generator.choice(ODD, shape), v)
    k = np.where(generator.random(shape) < 0.02, generator.choice(ODD, shape), k)
    return {name: (x[0] if packed else x).astype(dtype.numpy) for name, x in zip("qkv", (q, k, v))}


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    allowed = 1e-2 if found.dtype.itemsize < 4 else 1e-6
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=allowed, atol=allowed)


@pytest.mark.parametrize("level", ["O0", "O3"])
@pytest.mark.parametrize("dtype", [tg.f32, tg.f64, tg.bf16], ids=str)
@pytest.mark.parametrize("more", [{"empty_row": "zero"}, {"empty_row": "uniform"}, {"empty_row": "nan"}, {"softcap": 0.5},
                                  {"window": (2, 0)}], ids=str)
def test_attention(dtype: tg.DType, level: str, more: dict[str, Any]) -> None:
    def model(q: tg.Tensor, k: tg.Tensor, v: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
        return tg.attention(q, k, v, mask, causal=True, **more)

    graph = tg.trace(model, **dict.fromkeys("qkv", dtype[B, 2, S, 4]), mask=tg.bool_[B, S])
    for seed in range(4):
        mask = np.random.default_rng(seed).random((2, 9)) < 0.7
        given = {**feeds(seed, dtype, packed=False), "mask": mask}
        assert_equal(tg.compile(graph, "cpu", level=level).run(given)["output"],
                     tg.compile(graph, "numpy", level="O0").run(given)["output"])


@pytest.mark.parametrize("level", ["O0", "O3"])
@pytest.mark.parametrize("dtype", [tg.f32, tg.f64, tg.bf16], ids=str)
def test_a_weight_of_0_makes_a_nan_of_an_infinite_value(dtype: tg.DType, level: str) -> None:
    """Beside another infinity, whose weight is not 0, and in the rows that may attend to the key."""
    graph = tg.trace(lambda q, k, v: tg.attention(q, k, v, causal=True), **dict.fromkeys("qkv", dtype[1, 1, 3, 2]))
    values = {"q": [[1, 0]] * 3, "k": [[1, 0], [-30_000, 0], [2, 0]], "v": [[-np.inf, 1], [-np.inf, 2], [3, 4]]}
    given = {name: np.asarray([[rows]], dtype.numpy) for name, rows in values.items()}
    found = tg.compile(graph, "cpu", level=level).run(given)["output"]
    assert_equal(found, tg.compile(graph, "numpy", level="O0").run(given)["output"])
    assert found[0, 0, 0, 0] == -np.inf and np.isnan(found[0, 0, 1:, 0].astype(np.float64)).all()


@pytest.mark.parametrize("level", ["O0", "O3"])
@pytest.mark.parametrize("dtype", [tg.f32, tg.f64, tg.bf16], ids=str)
@pytest.mark.parametrize("empty_row", ["zero", "uniform", "nan"])
def test_ragged_attention(dtype: tg.DType, level: str, empty_row: str) -> None:
    def model(q: tg.Tensor, k: tg.Tensor, v: tg.Tensor, offsets: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
        return tg.ragged_attention(q, k, v, offsets, mask, causal=True, empty_row=empty_row)

    graph = tg.trace(model, **dict.fromkeys("qkv", dtype[S, 2, 4]), offsets=tg.i64[B], mask=tg.bool_[S])
    for seed in range(4):
        mask = np.random.default_rng(seed).random(9) < 0.6
        given = {**feeds(seed, dtype, packed=True), "offsets": np.array([0, 2, 3, 9]), "mask": mask}
        assert_equal(tg.compile(graph, "cpu", level=level).run(given)["output"],
                     tg.compile(graph, "numpy", level="O0").run(given)["output"])


@pytest.mark.parametrize("level", ["O0", "O3"])
def test_a_factor_of_0_is_a_factor(level: str) -> None:
    """0 inf is NaN, also where the 0 is an attribute."""
    x = np.array([[np.inf, -np.inf, np.nan, -1.0]], np.float32)
    graph = tg.trace(lambda x: tg.leaky_relu(x, alpha=0.0), x=tg.f32[B, 4])
    np.testing.assert_array_equal(tg.compile(graph, "cpu", level=level)(x), np.float32([[np.inf, np.nan, np.nan, 0.0]]))
    q = np.ones((1, 1, 3, 4), np.float32)
    q[0, 0, 1, 2] = np.inf
    graph = tg.trace(lambda q, k: tg.attention(q, k, k, scale=0.0), **dict.fromkeys("qk", tg.f32[1, 1, S, 4]))
    found = tg.compile(graph, "cpu", level=level)(q, np.ones_like(q))
    np.testing.assert_array_equal(np.isnan(found[0, 0, :, 0]), [False, True, False])
