"""The interpreter's results do not depend on how a graph is written down, to the last bit."""

from __future__ import annotations

import numpy as np

import tgraph as tg
from tgraph.reference import run


def test_one_value_or_two_equal_ones_give_the_same_bits() -> None:
    """NumPy has an algorithm of its own for x x^T, with other roundings."""
    def gram(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return tg.matmul(x, tg.transpose(y, perm=(0, 2, 1)))

    one = tg.trace(lambda x: gram(x * 2.0, x * 2.0), x=tg.f64[2, 7, 8])
    shared = tg.optimize(one, "cse")
    assert len(shared) == len(one) - 1
    for seed in range(20):
        feeds = {"x": np.random.default_rng(seed).standard_normal((2, 7, 8))}
        for a, b in zip(run(one, feeds).values(), run(shared, feeds).values()):
            np.testing.assert_array_equal(a, b)


def test_a_function_knows_the_sizes_that_only_its_attributes_name() -> None:
    """And of two dims of one name, its own is what it makes."""
    text = """function $sized(%x0: f32[2]) -> (y0: f32[2]) {
  %0 = dim_size(size=S+1, dtype=f32) : f32
  %1 = mul(%x0, %0) : f32[2]
  return (y0: %1)
}

graph main(%x: f32[2], %y: f32[S]) -> (output: f32[2]) {
  %0 = call $sized(%x) : f32[2]
  return (output: %0)
}
"""
    feeds = {"x": np.float32([1, 2]), "y": np.zeros(4, np.float32)}
    assert run(tg.parse(text), feeds)["output"].tolist() == [5, 10]
