"""What was fused of what looks like it, and why the rest was not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import passes
import tgraph as tg
from passes.debug.fusions import Fused, fused, summary
from tgraph.models.bert import Bert, BertConfig

B, S = tg.dims("B S")
X = tg.f32[B, S, 8]


def weights(q: Any, k: Any) -> Any:
    return tg.softmax(q @ k.transpose(0, 2, 1) * 0.5)


def norm(x: Any, count: int = 8) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / tg.sqrt((centred * centred).sum(axis=-1, keepdims=True) / float(count) + 1e-5)


def gelu(x: Any, root: float = 2**0.5) -> Any:
    return x * 0.5 * (tg.erf(x / root) + 1.0)


def found(function: Any, level: str = "O2", **specs: Any) -> list[Fused]:
    return fused(tg.optimize(tg.trace(function, **(specs or {"x": X})), level))


def test_a_model() -> None:
    config = BertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, vocab_size=30)
    graph = tg.trace(Bert(config), input_ids=tg.i64[B, S], mask=tg.bool_[B, S])
    for level in ("O0", "O2", "O3"):
        assert summary(fused(tg.optimize(graph, level))) == "attention 3 of 3, layer norm 7 of 7, GELU 3 of 3"
    primitives = fused(tg.optimize(graph, "decompose"))
    assert [(f.kind, f.count) for f in primitives if f.kind != "attention"] == [("layer norm", 0), ("GELU", 0)]
    assert [len(f.apart) for f in primitives if f.kind != "attention"] == [7, 3]
    assert all("its rule matches, but was not run here" in line for f in primitives for line in f.misses() if f.kind == "GELU")


def test_fused() -> None:
    def model(x: Any) -> Any:
        return gelu(norm(weights(x, x) @ x))

    assert summary(found(model)) == "attention 1 of 1, layer norm 1 of 1, GELU 1 of 1"
    assert summary(found(model, "cse")) == "attention 0 of 1, layer norm 0 of 1, GELU 0 of 1"


@pytest.mark.parametrize(("function", "shown", "reason"), [
    (lambda x: tg.softmax(tg.sin(x @ x.transpose(0, 2, 1))) @ x, "attention 0 of 1", "the scores come from sin (at sin"),
    (lambda x: norm(x, count=7), "layer norm 0 of 1", "the sum is multiplied by 0.14"),
    (lambda x: gelu(x, root=1.5), "GELU 0 of 1", "x/2 (1 + erf(x / sqrt 2)) = gelu(x): "),
    (lambda x: x * tg.sigmoid(x * 1.5), "GELU 0 of 1", "x sigmoid(1.702 x) = quick_gelu(x): "),
    (lambda x: x / tg.sqrt((x * x).sum(axis=-1, keepdims=True) / 9.0), "RMS norm 0 of 1", "the sum is multiplied by 0.11"),
])
def test_the_nearest_miss(function: Any, shown: str, reason: str) -> None:
    (one,) = found(function)
    assert str(one) == shown
    (line,) = one.misses()
    assert reason in line and f"{__file__}:" in line


def test_what_does_not_look_like_one() -> None:
    def router(x: Any) -> Any:
        return tg.softmax(x @ np.ones((8, 4), np.float32)) * 2.0

    assert found(router) == [] and summary([]) == "nothing that looks like attention, a norm or a GELU"
    assert found(lambda x: x / tg.sqrt((x * x).sum(axis=-1, keepdims=True))) == []  # a length


def test_functions_count_as_often_as_they_are_called() -> None:
    def model(x: Any) -> Any:
        w = np.eye(8, dtype=np.float32)
        return gelu(tg.linear(gelu(tg.linear(x, w)), w))

    assert summary(found(model, "O3")) == "GELU 2 of 2"


def test_a_program() -> None:
    class Two(tg.nn.Module):
        def first(self, x: Any) -> Any:
            return gelu(x)

        def second(self, x: Any) -> Any:
            return gelu(norm(x))

    program = tg.trace_program(Two(), first={"x": X}, second={"x": X})
    assert passes.summary(passes.fused(tg.optimize(program, "O2"))) == "layer norm 1 of 1, GELU 2 of 2"
