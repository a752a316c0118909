"""Parts of a concatenation are read in branches: each reads its own places, whatever LLVM makes of the loop around."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg

S = tg.dim("S")


@pytest.mark.parametrize("level", ["O0", "O3"])
@pytest.mark.parametrize("width", [1, 4, 7, 16])
@pytest.mark.parametrize("parts", [2, 3, 5])
@pytest.mark.parametrize("dtype", [tg.f64, tg.f32, tg.i8], ids=str)
def test_parts_of_a_concatenation(dtype: tg.DType, parts: int, width: int, level: str) -> None:
    def model(*xs: tg.Tensor) -> tg.Tensor:
        last = xs[-1].transpose(1, 0, 2)
        return tg.concat(*xs[:-1], tg.where(last > 0, last * 2, last), axis=-1)

    generator = np.random.default_rng(parts)
    feeds = [(generator.normal(size=(2, 9, width)) * 9).astype(dtype.numpy) for _ in range(parts)]
    feeds[-1] = np.ascontiguousarray(feeds[-1].transpose(1, 0, 2))
    graph = tg.trace(model, *[dtype[2, S, width]] * (parts - 1), dtype[S, 2, width])
    expected = tg.compile(graph, "numpy", level="O0")(*feeds)
    np.testing.assert_array_equal(tg.compile(graph, "cpu", level=level)(*feeds), expected)
