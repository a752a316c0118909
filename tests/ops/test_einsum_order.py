"""What an einsum of infinities is: what one operand alone has to sum is summed first, in the reference as in kernels."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("target", ["numpy", "cpu"])
def test_what_one_operand_alone_has_to_sum_is_summed_first(target: str) -> None:
    graph = tg.trace(lambda x, y: tg.einsum(x, y, equation="ab,z->b"), x=tg.f32[4, 5], y=tg.f32[1])
    x = np.float32([[1, -2, 3, 0, 1], [-2, 3, 1, 0, 2], [1, 1, -9, 0, -3], [2, 1, 4, 0, 0]])
    found = tg.compile(graph, target).run({"x": x, "y": np.float32([np.inf])})["output"]
    np.testing.assert_array_equal(found, x.sum(axis=0) * np.float32(np.inf))
    assert tg.reference.run(graph, {"x": x, "y": np.float32([2])})["output"].tolist() == (2 * x.sum(axis=0)).tolist()


def test_three_operands_are_multiplied_from_the_left() -> None:
    graph = tg.trace(lambda x, y, z: tg.einsum(x, y, z, equation="ab,bc,dc->ad"), x=tg.i32[2, 3], y=tg.i32[3, 4], z=tg.i32[5, 4])
    feeds = {name: np.random.default_rng(0).integers(-9, 9, shape, dtype=np.int32)
             for name, shape in (("x", (2, 3)), ("y", (3, 4)), ("z", (5, 4)))}
    found = tg.reference.run(graph, feeds)["output"]
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, feeds["x"] @ feeds["y"] @ feeds["z"].T)


@pytest.mark.parametrize("target", ["numpy", "cpu"])
@pytest.mark.parametrize(("equation", "shapes"), [("ab,z->z", [(4, 5), (1,)]), ("a,b,c->abc", [(1,), (1,), (1,)])])
def test_what_is_on_the_way_has_the_range_of_f32(target: str, equation: str, shapes: list[tuple[int, ...]]) -> None:
    """The sum of 20 numbers of 8192, and 8192 times 8192, are infinite in f16."""
    graph = tg.trace(lambda *xs: tg.einsum(*xs, equation=equation), *(tg.f16[shape] for shape in shapes))
    values = (8192, 2.0**-12) if len(shapes) == 2 else (8192, 8192, 2.0**-14)
    feeds = [np.full(shape, value, np.float16) for shape, value in zip(shapes, values)]
    found = tg.compile(graph, target)(*feeds)
    expected = np.einsum(equation, *(x.astype(np.float64) for x in feeds))
    assert np.isfinite(expected).all() and (expected < 65504).all()
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=1e-3)
