"""What a user does wrong, and the error that names the thing, the rule and the user's own line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.models.bert import Bert, BertConfig

B, S, T = tg.dims("B S T")
TINY = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                  max_position_embeddings=12)


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def message(error: type[Exception], call: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_inner_dimension_of_a_matmul() -> None:
    def model(x, y):  # type: ignore[no-untyped-def]
        return x @ y

    text = message(tg.OpError, lambda: tg.trace(model, tg.f32[B, 7, 16], tg.f32[B, 15, 4]))
    assert "matmul(f32[B, 7, 16], f32[B, 15, 4])" in text and "inner dimensions must agree: 16 != 15" in text
    assert f"{__file__}:{model.__code__.co_firstlineno + 1}" in text


def test_heads_that_do_not_divide_the_hidden_size() -> None:
    here = line() + 1
    text = message(tg.TraceError, lambda: nn.MultiHeadAttention(770, 12))
    assert "12 heads do not divide the hidden size 770" in text and f"{__file__}:{here}" in text


def test_a_missing_weight() -> None:
    model = Bert(TINY)
    weights = {name: np.zeros(p.type.evaluate({}), np.float32) for name, p in model.parameters().items()}
    del weights["encoder.layer.0.output.dense.bias"]
    weights["surplus"] = np.zeros(3, np.float32)
    weights["pooler.dense.bias"] = np.zeros(17, np.float32)
    text = message(tg.WeightsError, lambda: model.load_weights(weights))
    assert "missing: encoder.layer.0.output.dense.bias" in text
    assert "unexpected: surplus" in text
    assert "misshapen: pooler.dense.bias is float32[17], the graph has f32[16]" in text


def test_a_mask_of_the_wrong_shape() -> None:
    layer = nn.MultiHeadAttention(16, 2)
    text = message(tg.OpError, lambda: tg.trace(layer, x=tg.f32[B, 7, 16], mask=tg.bool_[B, 9]))
    assert "attention(" in text and "mask bool[B, 9] must broadcast to [B, H, Sq, Sk] = [B, 2, 7, 7]" in text
    text = message(tg.OpError, lambda: tg.trace(layer, x=tg.f32[B, S, 16], mask=tg.f32[B, S]))
    assert "needs a boolean operand for mask, got f32[B, S]: give one that is added to the scores as bias=" in text
    text = message(tg.OpError, lambda: tg.trace(layer, x=tg.f32[B, S, 16], mask=tg.i64[B, S]))
    assert "got i64[B, S]: write mask=mask != 0, which is True where to attend" in text


def test_a_mix_of_dtypes() -> None:
    text = message(tg.OpError, lambda: tg.trace(lambda x, y: x + y, tg.f32[B], tg.f16[B]))
    assert "add(f32[B], f16[B])" in text and "no implicit promotion" in text and __file__ in text


@pytest.mark.parametrize(("name", "hint"), [("tpu", "cpu"), ("cpu:znver33", "znver3"), ("numpy:x", "numpy"),
                                              ("cuda:h100", "sm_90 (H100)"), ("cuda:sm_70", "sm_80 or later")])
def test_an_unknown_target(name: str, hint: str) -> None:
    text = message(tg.TargetError, lambda: tg.compile(tg.trace(tg.relu, x=tg.f32[B]), target=name))
    assert name in text and hint in text


def test_an_unknown_precision() -> None:
    graph = tg.trace(tg.relu, x=tg.f32[B])
    assert "precision='f8': it is one of f32, f16, bf16" in message(tg.PassError, lambda: tg.compile(graph, precision="f8"))
    assert "weights='i3': it is one of f32" in message(tg.PassError, lambda: tg.compile(graph, weights="i3"))


@pytest.fixture(scope="module")
def tiny() -> tg.Executable:
    return tg.compile(tg.trace(Bert(TINY, pooler=False), input_ids=tg.i64[B, S], mask=tg.bool_[B, S]))


def test_a_token_outside_the_table(tiny: tg.Executable) -> None:
    ids = np.array([[1, 2, 50]])
    text = message(tg.InputError, lambda: tiny(ids, np.ones((1, 3), bool)))
    assert "index 50 at [0, 2] is outside of 0 .. 49" in text and "word_embeddings" in text and "bert.py:" in text
    assert tiny(ids - 1, np.ones((1, 3), bool)).shape == (1, 3, 16)


def test_more_tokens_than_positions(tiny: tg.Executable) -> None:
    text = message(tg.InputError, lambda: tiny(np.ones((1, 13), np.int64), np.ones((1, 13), bool)))
    assert "index 12" in text and "12 rows" in text and "position_embeddings" in text


@pytest.mark.parametrize(("feeds", "expected"), [
    ({"input_ids": np.zeros((2, 3, 1), np.int64)}, "input 'input_ids' must have rank 2 (i64[B, S]), got shape [2, 3, 1]"),
    ({"input_ids": np.zeros((2, 3), np.int32)}, "input 'input_ids' must be i64, got int32"),
    ({"mask": np.ones((2, 4), bool)}, "dim S of input_ids is 3, S of mask is 4"),
    ({"mask": 1.5}, "input 'mask' is bool[B, S], got the Python float 1.5"),
    ({"masc": np.ones((2, 3), bool)}, "has no input 'masc'"),
])
def test_inputs_that_do_not_fit(tiny: tg.Executable, feeds: dict[str, Any], expected: str) -> None:
    good = {"input_ids": np.zeros((2, 3), np.int64), "mask": np.ones((2, 3), bool)}
    assert expected in message(tg.InputError, lambda: tiny.run({**good, **feeds}))


def test_a_missing_input(tiny: tg.Executable) -> None:
    assert "misses input mask" in message(tg.InputError, lambda: tiny(np.zeros((2, 3), np.int64)))


def test_an_unknown_equality_is_checked_by_name() -> None:
    graph = tg.trace(lambda x, y: x + y, x=tg.f32[S], y=tg.f32[T])
    assert "where S == T" in str(graph)
    exe = tg.compile(graph, target="numpy")
    assert exe(np.ones(3, "f"), np.ones(3, "f")).tolist() == [2, 2, 2]
    assert "S of x is 3, T of y is 4" in message(tg.InputError, lambda: exe(np.ones(3, "f"), np.ones(4, "f")))


def test_a_row_with_every_key_masked_gives_zeros() -> None:
    specs = {"q": tg.f32[B, 2, S, 8], "k": tg.f32[B, 2, T, 8], "v": tg.f32[B, 2, T, 8], "mask": tg.bool_[B, T]}
    exe = tg.compile(tg.trace(tg.attention, **specs))
    q, k, v = (np.random.default_rng(i).standard_normal((2, 2, 5, 8)).astype("f") for i in range(3))
    y = exe(q, k, v, np.array([[True] * 5, [False] * 5]))
    assert (y[1] == 0).all() and np.abs(y[0]).min() > 0


def test_a_text_with_an_error() -> None:
    text = "graph g(%x: f32[B, 4]) -> (y: f32[B, 4]) {\n  %0 = gelo(%x) : f32[B, 4]\n  return (y: %0)\n}\n"
    found = message(tg.ParseError, lambda: tg.parse(text))
    assert "<text>:2:8" in found and "did you mean gelu?" in found
    assert "expected" in message(tg.ParseError, lambda: tg.parse(text.replace("gelo", "gelu").replace("(%x)", "(%x")))


def test_a_cycle() -> None:
    graph = tg.trace(lambda x: tg.exp(tg.relu(x)), x=tg.f32[B])
    relu, exp = graph.nodes
    graph.set_operand(relu, 0, exp.result)
    assert "cycle" in message(tg.VerifyError, lambda: tg.verify(graph))


def test_a_value_has_no_truth_while_tracing() -> None:
    def model(x):  # type: ignore[no-untyped-def]
        return x if x.sum() > 0 else -x

    assert "tg.where" in message(tg.TraceError, lambda: tg.trace(model, tg.f32[B]))


def test_a_parameter_without_data() -> None:
    graph = tg.parse("graph g(%x: f32[B, 4]) -> (y: f32[B, 3]) {\n  param @w: f32[3, 4]\n"
                     "  %0 = linear(%x, @w) : f32[B, 3]\n  return (y: %0)\n}\n")
    assert "no data for parameter w" in message(tg.CompileError, lambda: tg.compile(graph))


def test_a_size_used_as_a_python_number() -> None:
    def root(x):  # type: ignore[no-untyped-def]
        return x / math.sqrt(x.shape[1])

    def branch(x):  # type: ignore[no-untyped-def]
        return x if x.shape[1] > 3 else -x

    def cut(x):  # type: ignore[no-untyped-def]
        return x * (x.shape[1] // 2.0)

    for model, rule in ((root, "there is no Python float of it"), (branch, "dimension S has no value while tracing"),
                        (cut, r"a dimension is an int or a symbolic dim, not float (2.0)")):
        text = message(tg.RuleError, lambda: tg.trace(model, x=tg.f32[B, S]))
        assert rule in text and text.endswith(f"\n  at {__file__}:{model.__code__.co_firstlineno + 1}")
