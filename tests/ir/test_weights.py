"""The table of parameter data: lazy, seeded by name, strict when it is loaded."""

from __future__ import annotations

import numpy as np
import pytest

from tgraph.ir.dtypes import bf16, f32
from tgraph.ir.errors import WeightsError
from tgraph.ir.weights import Weights, check_weights


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.standard_normal(shape)


def test_initial_values_are_lazy_and_seeded_by_name() -> None:
    calls = []

    def counted(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        calls.append(shape)
        return normal(generator, shape)

    weights, others = Weights(), Weights()
    weights.initialize("a", f32[2, 3], counted)
    weights.initialize("b", f32[2, 3], counted)
    assert calls == [] and len(weights) == 2 and list(weights) == ["a", "b"]
    assert weights["a"] is weights["a"] and calls == [(2, 3)]
    others.initialize("b", bf16[2, 3], normal)
    others.initialize("a", f32[2, 3], normal)
    assert np.array_equal(weights["a"], others["a"]) and not np.array_equal(weights["a"], weights["b"])
    assert others["b"].dtype == bf16.numpy and weights["a"].dtype == np.float32
    weights.initialize("a", f32[2, 3], lambda _, shape: np.zeros(shape))
    assert np.array_equal(weights["a"], others["a"])  # what is there stays
    weights.set("a", np.ones(2))
    assert weights["a"].tolist() == [1, 1]


def test_aliases() -> None:
    weights = Weights()
    weights.aliases.update({"decoder.weight": "embedding.weight", "lost": "nowhere"})
    assert "decoder.weight" not in weights
    weights.set("embedding.weight", np.ones(3, np.float32))
    assert "decoder.weight" in weights and weights["decoder.weight"] is weights["embedding.weight"]
    assert "lost" not in weights and weights.get("lost") is None and 3 not in weights
    assert dict(weights) == {"embedding.weight": weights["embedding.weight"]}
    with pytest.raises(KeyError):
        weights["lost"]


WANTED = {"w": f32[2], "v": f32[3], "u": f32[1]}
ARRAYS = {"w": np.zeros(2, np.float32), "v": np.zeros(3, np.float32), "u": np.zeros(1, np.float32)}


def test_loading_lists_every_problem() -> None:
    assert check_weights(ARRAYS, WANTED, {}).keys() == WANTED.keys()
    with pytest.raises(WeightsError) as caught:
        check_weights({"w": np.zeros(2), "v": np.zeros((3, 1), np.float32), "x": 0, "y": 0}, WANTED, {},
                      "model.safetensors")
    assert str(caught.value).split("\n") == [
        "model.safetensors do not fit the graph", "  missing: u", "  unexpected: x, y",
        "  misshapen: w is float64[2], the graph has f32[2], v is float32[3, 1], the graph has f32[3]"]


def test_loading_by_another_name() -> None:
    aliases = {"w2": "w", "w3": "w"}
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    rest = {"v": ARRAYS["v"], "u": ARRAYS["u"]}
    assert check_weights(rest | {"w2": ones}, WANTED, aliases)["w"] is ones
    for given in ({"w": ones, "w2": ones}, {"w2": ones, "w": ones, "w3": ones}):
        assert check_weights(rest | given, WANTED, aliases)["w"].tolist() == [1, 1]
    for given in ({"w": ones, "w2": zeros}, {"w2": zeros, "w": ones}, {"w2": ones, "w3": zeros}):
        with pytest.raises(WeightsError, match="is another name of w, but holds other values"):
            check_weights(rest | given, WANTED, aliases)
