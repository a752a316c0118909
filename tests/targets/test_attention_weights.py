"""`tg.attention_weights`: each attention of a graph by the meaning of its op, without a change of the executable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.models.bert import Bert, BertConfig

B, T, S = tg.dims("B T S")
RNG = np.random.default_rng(2)
Q, K = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 4, 3, 8), (2, 2, 5, 8)))
MASK = np.array([[True, True, False, True, False], [False] * 5])
BIAS = RNG.standard_normal((4, 3, 5)).astype(np.float32)


def by_hand(q: np.ndarray, k: np.ndarray, mask: np.ndarray | None = None, bias: np.ndarray | None = None,
            offset: int = 0, causal: bool = False, empty_row: str = "zero", softcap: float = 0.0,
            window: tuple[int, int] | None = None) -> np.ndarray:
    """One query at a time. Empty rows are what the op says."""
    result = np.zeros((*q.shape[:3], k.shape[2]))
    group = q.shape[1] // k.shape[1]
    for b, h, i in np.ndindex(*q.shape[:3]):
        keys = [j for j in range(k.shape[2]) if (mask is None or mask[b, j]) and (not causal or j <= i + offset)
                and (window is None or i + offset - window[0] <= j <= i + offset + window[1])]
        scores = q[b, h, i].astype(float) @ k[b, h // group, keys].T / np.sqrt(q.shape[3])
        scores = softcap * np.tanh(scores / softcap) if softcap else scores
        scores = scores if bias is None else scores + bias[h, i, keys]
        if keys:
            result[b, h, i, keys] = np.exp(scores) / np.exp(scores).sum()
        else:
            result[b, h, i] = {"zero": 0, "uniform": 1 / k.shape[2], "nan": np.nan}[empty_row]
    return result


@pytest.mark.parametrize(("operands", "options"), [
    ({}, {}), ({"mask": MASK}, {}), ({"mask": MASK, "bias": BIAS}, {"empty_row": "uniform"}),
    ({"mask": MASK}, {"empty_row": "nan"}),
    ({"offset": np.array(-1)}, {"causal": True}), ({"mask": MASK, "offset": np.array(1)}, {"causal": True}),
    ({}, {"window": (1, 1), "softcap": 0.5})])
def test_every_operand_of_the_op(operands: dict[str, np.ndarray], options: dict[str, Any]) -> None:
    types = {"mask": tg.bool_[B, S], "bias": tg.f32[4, T, S], "offset": tg.i64[()]}
    graph = tg.trace(lambda q, k, v, **rest: tg.attention(q, k, v, **rest, **options), q=tg.f32[B, 4, T, 8], k=tg.f32[B, 2, S, 8],
                     v=tg.f32[B, 2, S, 6], **{name: types[name] for name in operands})
    found = tg.attention_weights(graph, Q, K, np.zeros((2, 2, 5, 6), np.float32), **operands)
    assert list(found) == ["attention"]
    expected = by_hand(Q, K, **{n: int(o) if n == "offset" else o for n, o in operands.items()}, **options)
    np.testing.assert_allclose(found["attention"], expected, atol=1e-5)


def test_attention_that_is_spelled_out_counts() -> None:
    def attend(q: tg.Tensor, k: tg.Tensor) -> tg.Tensor:
        return tg.softmax(q @ k.transpose(0, 1, 3, 2) / 8 ** 0.5) @ k

    graph = tg.trace(attend, q=tg.f32[B, 2, T, 8], k=tg.f32[B, 2, S, 8])
    found = tg.attention_weights(graph, Q[:, :2], k=K)
    np.testing.assert_allclose(found["attention"], by_hand(Q[:, :2], K), atol=1e-5)


def test_layers_of_a_bert() -> None:
    config = BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
                        max_position_embeddings=6)
    exe = tg.compile(tg.trace(Bert(config), tg.i64[B, S], tg.bool_[B, S]))
    before = exe.source("kernels")
    ids, mask = np.array([[1, 5, 2, 0], [3, 3, 10, 4]]), np.array([[True, True, True, False], [True] * 4])
    found = tg.attention_weights(exe, ids, mask)
    assert list(found) == ["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"]
    told = tg.reference.run(tg.trace(Bert(config, output_attentions=True), tg.i64[B, S], tg.bool_[B, S]),
                            dict(zip([i.name for i in exe.graph.inputs], (ids, mask))))["attentions"]
    for layer, weights in enumerate(found.values()):
        assert weights.shape == (2, 2, 4, 4) and np.all(weights[0, :, :, 3] == 0)
        np.testing.assert_allclose(weights, told[layer], atol=1e-5)
    assert exe.source("kernels") == before and "softmax" not in str(exe.optimized)  # still one kernel


def test_it_is_compiled_once_for_the_weights_of_the_executable() -> None:
    exe = tg.compile(tg.trace(nn.MultiHeadAttention(8, 2), x=tg.f32[B, S, 8]), target="numpy")
    x = RNG.standard_normal((1, 4, 8)).astype(np.float32) * 9
    assert not np.allclose(tg.attention_weights(exe, x)["attention"], 1 / 4, atol=1e-3)
    made = []

    def derive(graph: tg.Graph) -> tg.Graph:
        made.append(graph)
        return graph.copy()

    assert exe.companion(derive) is exe.companion(derive) and made == [exe.graph]
    exe.load_weights({name: np.zeros_like(array) for name, array in exe.weights.items()})
    assert np.allclose(tg.attention_weights(exe, x)["attention"], 1 / 4)


def test_errors() -> None:
    graph = tg.trace(lambda x: tg.exp(x), x=tg.f32[B])
    with pytest.raises(tg.GraphError, match="nothing attends in graph"):
        tg.attention_weights(graph, np.zeros(1, np.float32))
    attends = tg.compile(tg.trace(nn.MultiHeadAttention(8, 2), x=tg.f32[B, S, 8]), target="numpy")
    with pytest.raises(tg.InputError, match="misses input x"):
        tg.attention_weights(attends)
    program = tg.compile(tg.trace_program(nn.MultiHeadAttention(8, 2), __call__=tg.f32[B, S, 8]), target="numpy")
    with pytest.raises(tg.GraphError, match="give one of them"):
        tg.attention_weights(program, np.zeros((1, 1, 8), np.float32))  # type: ignore[arg-type]


def test_a_step_takes_its_states_like_a_call_of_the_executable() -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            self.past, self.attention = nn.Past(1, 2, 4), nn.MultiHeadAttention(8, 2)

        def step(self, x: tg.Tensor) -> tg.Tensor:
            return self.attention(x, past=self.past.begin(x[..., 0]).layer(0))

    exe = tg.compile(tg.trace_program(Step(), step=tg.f32[B, T, 8]), target="numpy").step
    session = exe.session(B=1, C=6)
    x = RNG.standard_normal((1, 5, 8)).astype(np.float32)
    session.step(x[:, :3])
    states = {i.name: session[i.name] for i in exe.graph.inputs if i.name in exe.graph.states}
    found = tg.attention_weights(exe, x[:, 3:], **states)["attention"]
    assert found.shape == (1, 2, 2, 6) and np.all(found[..., 5] == 0) and np.all(found[:, :, 0, 4:] == 0)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
