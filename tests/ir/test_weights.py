"""The table of parameter data: lazy, seeded by name, strict when it is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.formats import save_safetensors
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
        "  misshapen: w is float64[2], the graph has f32[2] (cast=True converts float64 to f32), "
        "v is float32[3, 1], the graph has f32[3]"]


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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_floats_of_another_precision_are_converted_when_asked(dtype: str) -> None:
    values = np.float32([0.1, -2.5, 3e-5])
    given = {**ARRAYS, "v": values.astype(dtype_named(dtype))}
    text = rf"misshapen: v is {dtype}\[3\], the graph has f32\[3\] \(cast=True converts {dtype} to f32\)"
    with pytest.raises(WeightsError, match=text):
        check_weights(given, WANTED, {})
    found = check_weights(given, WANTED, {}, cast=True)["v"]
    assert found.dtype == np.float32 and np.array_equal(found, given["v"].astype(np.float32))
    assert check_weights({"w": values}, {"w": bf16[3]}, {}, cast=True)["w"].tobytes() == values.astype(bf16.numpy).tobytes()


def dtype_named(name: str) -> np.dtype:  # type: ignore[type-arg]
    return bf16.numpy if name == "bfloat16" else np.dtype(name)


def test_what_no_conversion_is_asked_for() -> None:
    for given, text in (
        ({"w": np.zeros(2, np.int64)}, "w is int64[2], the graph has f32[2]"),
        ({"w": np.zeros(3, np.float16)}, "w is float16[3], the graph has f32[2]"),
        ({"w": np.array([1e300, np.inf])}, "w is float64[2], the graph has f32[2]: the number 1e+300 is beyond f32"),
    ):
        with pytest.raises(WeightsError) as caught:
            check_weights(given, {"w": f32[2]}, {}, cast=True)
        assert f"misshapen: {text}" in str(caught.value) and "cast=True" not in str(caught.value)
    assert check_weights({"w": np.array([np.inf, np.nan])}, {"w": f32[2]}, {}, cast=True)["w"][0] == np.inf


@pytest.mark.parametrize("target", ["numpy", "cpu"])
def test_everything_that_loads_weights_converts_them(target: str, tmp_path: Path) -> None:
    tensors = {"weight": np.full((2, 4), 0.5, np.float16), "bias": np.ones(2, np.float16)}
    save_safetensors(tmp_path / "half.safetensors", tensors)
    x = np.ones((3, 4), np.float32)
    for weights in (tensors, tmp_path / "half.safetensors"):
        model = nn.Linear(4, 2)
        with pytest.raises(WeightsError, match=r"weight is float16.*cast=True"):
            model.load_weights(weights)
        graph = tg.trace(model, x=tg.f32[tg.dim("B"), 4])
        with pytest.raises(WeightsError, match=r"bias is float16.*cast=True"):
            graph.load_weights(weights)
        exe = tg.compile(graph, target, cache=False)
        with pytest.raises(WeightsError, match=r"weight is float16.*cast=True"):
            exe.load_weights(weights)
        exe.load_weights(weights, cast=True)
        assert np.array_equal(exe(x), np.full((3, 2), 3))
        graph.load_weights(weights, cast=True)
        assert graph.weights["weight"].dtype == np.float32
        assert np.array_equal(tg.compile(graph, target, cache=False)(x), np.full((3, 2), 3))
        model.load_weights(weights, cast=True)
        assert np.array_equal(tg.compile(tg.trace(model, x=tg.f32[3, 4]), target, cache=False)(x), np.full((3, 2), 3))


def test_parameters_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    model = nn.Linear(4, 2)
    model.load_weights(dict(torch.nn.Linear(4, 2).named_parameters()))
    with pytest.raises(WeightsError, match=r"weight is bfloat16.*cast=True converts bfloat16 to f32"):
        model.load_weights(torch.nn.Linear(4, 2).bfloat16().state_dict())
    model.load_weights(torch.nn.Linear(4, 2).bfloat16().state_dict(), cast=True)
