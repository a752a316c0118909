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
