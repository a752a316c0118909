"""Numbers that an element type cannot hold are errors with the user's line; no conversion warns from within NumPy."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from tgraph.reference import run

B = tg.dim("B")


@pytest.mark.parametrize(("dtype", "number"), [(tg.f16, -1e9), (tg.f16, 65536.0), (tg.f32, 1e39), (tg.bf16, -3.4028235e38)])
def test_a_literal_beyond_its_type_is_an_error(dtype: tg.DType, number: float) -> None:
    def model(x):
        return tg.where(x > 0.0, x, number)  # this line

    with warnings.catch_warnings(), pytest.raises(tg.OpError) as raised:
        warnings.simplefilter("error")
        tg.trace(model, x=dtype[B])
    text = str(raised.value)
    assert f"the number {number:g} is beyond {dtype}, whose largest is {dtype.largest:g}" in text
    assert f"{Path(__file__).name}:{model.__code__.co_firstlineno + 1}" in text


@pytest.mark.parametrize("number", [65504.0, 65519.0, -65504.0, math.inf, -math.inf, math.nan, 1e-30])
def test_what_rounds_to_a_number_of_the_type_is_none(number: float) -> None:
    graph = tg.trace(lambda x: tg.maximum(x, number), x=tg.f16[B])
    assert tg.parse(str(graph)) == graph


def test_attributes_that_become_elements() -> None:
    with pytest.raises(tg.OpError, match="value 1e\\+06 is beyond f16"):
        tg.trace(lambda x: x + tg.full(shape=(4,), value=1e6, dtype=tg.f16), x=tg.f16[4])
    graph = tg.trace(lambda x: tg.clip(x, max=1e6), x=tg.f16[4])  # a bound beyond all numbers is no bound
    assert run(graph, {"x": np.ones(4, np.float16)})["output"].tolist() == [1.0] * 4


def test_overflow_in_the_reference_is_silent_and_infinite() -> None:
    graph = tg.trace(lambda x: tg.cast(x * 1e6, dtype=tg.f16), x=tg.f32[2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(graph, {"x": np.ones(2, np.float32)}, faithful=True)["output"].tolist() == [math.inf] * 2
