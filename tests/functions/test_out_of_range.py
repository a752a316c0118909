"""An index that is not there raises InputError at run time, compiled or not, and names op, index and the user's line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg

B = tg.dim("B")
X, PLACES, U = tg.f32[B, 4, 3], tg.i64[B, 2, 3], tg.f32[B, 2, 3]
MODELS = {
    "take_along_axis": lambda x, i, u: tg.take_along_axis(x, i, axis=1) + u,
    "scatter": lambda x, i, u: tg.scatter(x, i, u, 1),
    "scatter_add": lambda x, i, u: tg.scatter_add(x, 1, i, u),
}


@pytest.fixture(scope="module", params=["numpy", "cpu"])
def executables(request: pytest.FixtureRequest) -> dict[str, tg.Executable]:
    return {name: tg.compile(tg.trace(model, x=X, i=PLACES, u=U), request.param) for name, model in MODELS.items()}


def feeds(index: int) -> tuple[Any, ...]:
    i = np.array([[[0, -4, 3], [1, 2, -1]]] * 2)
    i[1, 0, 2] = index  # of the last row: what lies beyond it lies beyond the whole, what lies before it in another row
    return np.ones((2, 4, 3), np.float32), i, np.ones((2, 2, 3), np.float32)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("index", [4, -5, 2**62, -(2**63)])
def test_out_of_range(executables: dict[str, tg.Executable], name: str, index: int) -> None:
    with pytest.raises(tg.InputError) as raised:
        executables[name](*feeds(index))
    message = str(raised.value)
    assert f"{name.removesuffix('_add')}: index {index} at [1, 0, 2] is outside of -4 .. 3, axis " in message
    assert Path(__file__).name in message


@pytest.mark.parametrize("name", MODELS)
def test_in_range(executables: dict[str, tg.Executable], name: str) -> None:
    for index in (-4, 3):
        assert np.isfinite(executables[name](*feeds(index))).all()
