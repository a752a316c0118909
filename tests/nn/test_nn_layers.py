"""Every layer against its formula in NumPy, written without tgraph's ops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn

B, S, T = tg.dims("B S T")
RNG = np.random.default_rng(3)
X, MEMORY = RNG.standard_normal((2, 5, 8)), RNG.standard_normal((2, 7, 8))
MASK = np.array([[True, True, False, True, False], [True] * 5])
MEMORY_MASK = np.arange(7) < np.array([[7], [3]])
Weights = dict[str, np.ndarray]


def graph_of(model: nn.Module, *types: tg.TensorType, **named: Any) -> tg.Graph:
    """The trace of a layer whose weights are random, biases and scales too."""
    generator = np.random.default_rng(5)
    for parameter in model.parameters().values():
        parameter.data = (generator.standard_normal(parameter.type.shape) / 2).astype(parameter.type.dtype.numpy)
    graph = tg.trace(model, *types, **named)
    tg.verify(graph)
    return graph


def weights(graph: tg.Graph) -> Weights:
    return {name: graph.weights[name].astype(float) for name in graph.parameters}


def run(graph: tg.Graph, *feeds: np.ndarray) -> np.ndarray:
    types = [i.type.dtype.numpy for i in graph.inputs]
    return tg.reference.run(graph, {i.name: f.astype(t) for i, f, t in zip(graph.inputs, feeds, types)})["output"]


def rounded(x: np.ndarray) -> np.ndarray:
    """What a feed of f32 holds."""
    return x.astype(np.float32).astype(float)


x, memory = rounded(X), rounded(MEMORY)


def linear(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    y = np.einsum("...i,oi->...o", x, w[f"{name}.weight"])
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def norm(w: Weights, name: str, x: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return y * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def attention(w: Weights, name: str, x: np.ndarray, source: np.ndarray, heads: int = 2, kv_heads: int = 2,
              allowed: np.ndarray | None = None, rotate: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> np.ndarray:
    """Multi-head attention, one head of one sentence at a time."""
    q, k, v = linear(w, f"{name}query", x), linear(w, f"{name}key", source), linear(w, f"{name}value", source)
    size = q.shape[-1] // heads
    result = np.zeros_like(q)
    for b in range(len(x)):
        for h in range(heads):
            own, shared = slice(h * size, (h + 1) * size), slice(h * kv_heads // heads * size, (h * kv_heads // heads + 1) * size)
            scores = rotate(q[b, :, own]) @ rotate(k[b, :, shared]).T / math.sqrt(size)
            scores = scores if allowed is None else np.where(np.broadcast_to(allowed, (len(x), *scores.shape))[b], scores,
                                                             -np.inf)
            e = np.exp(scores - scores.max(-1, keepdims=True))
            result[b, :, own] = e / e.sum(-1, keepdims=True) @ v[b, :, shared]
    return linear(w, f"{name}output", result)


ROWS, CAUSAL = tg.f32[B, S, 8], np.tril(np.ones((5, 5), bool))


def test_linear() -> None:
    graph = graph_of(nn.Linear(8, 3), ROWS)
    np.testing.assert_allclose(run(graph, X), x @ weights(graph)["weight"].T + weights(graph)["bias"], atol=1e-12)
    graph = graph_of(nn.Linear(8, 3, bias=False), ROWS)
    assert list(graph.parameters) == ["weight"]
    assert nn.Linear(8, 3, dtype=tg.f16).weight.type == tg.f16[3, 8]


def test_embedding() -> None:
    graph, ids = graph_of(nn.Embedding(6, 8), tg.i64[B, S]), np.array([[0, 5, 3], [1, 1, 2]])
    assert np.array_equal(run(graph, ids), weights(graph)["weight"][ids])


def test_layer_norm() -> None:
    graph = graph_of(nn.LayerNorm(8, 1e-3), ROWS)
    w = weights(graph)
    np.testing.assert_allclose(run(graph, X), norm({"n.weight": w["weight"], "n.bias": w["bias"]}, "n", x, 1e-3), atol=1e-12)
    assert list(graph_of(nn.LayerNorm(8, bias=False), ROWS).parameters) == ["weight"]


def test_rms_norm() -> None:
    graph = graph_of(nn.RMSNorm(8, 1e-3), ROWS)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * weights(graph)["weight"]
    np.testing.assert_allclose(run(graph, X), expected, atol=1e-12)


@pytest.mark.parametrize(("name", "formula"), [
    ("gelu", gelu), ("gelu_tanh", lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    ("silu", silu),
    ("quick_gelu", lambda x: x / (1 + np.exp(-1.702 * x))), ("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)))])
def test_feed_forward(name: str, formula: Callable[[np.ndarray], np.ndarray]) -> None:
    graph = graph_of(nn.FeedForward(8, 12, name), ROWS)
    w = weights(graph)
    np.testing.assert_allclose(run(graph, X), linear(w, "down", formula(linear(w, "up", x))), atol=1e-11)


def test_gated_feed_forward() -> None:
    graph = graph_of(nn.GatedFeedForward(8, 12), ROWS)
    w = weights(graph)
    assert set(w) == {"gate.weight", "up.weight", "down.weight"}
    np.testing.assert_allclose(run(graph, X), linear(w, "down", silu(linear(w, "gate", x)) * linear(w, "up", x)), atol=1e-11)


def test_self_attention_with_masks() -> None:
    model = nn.MultiHeadAttention(8, 2)
    graph = graph_of(model, ROWS)
    w = weights(graph)
    np.testing.assert_allclose(run(graph, X), attention(w, "", x, x), atol=1e-12)
    graph = graph_of(model, ROWS, mask=tg.bool_[B, S])
    np.testing.assert_allclose(run(graph, X, MASK), attention(w, "", x, x, allowed=MASK[:, None]), atol=1e-12)
    graph = graph_of(model, ROWS, causal=True)
    np.testing.assert_allclose(run(graph, X), attention(w, "", x, x, allowed=CAUSAL), atol=1e-12)
    graph = graph_of(model, ROWS, bias=tg.f32[S, S])
    bias = np.where(CAUSAL, 0.0, -1e30)
    np.testing.assert_allclose(run(graph, X, bias), attention(w, "", x, x, allowed=CAUSAL), atol=1e-12)


def test_cross_attention() -> None:
    graph = graph_of(nn.MultiHeadAttention(8, 4), ROWS, context=tg.f32[B, T, 8], mask=tg.bool_[B, T])
    expected = attention(weights(graph), "", x, memory, 4, 4, MEMORY_MASK[:, None])
    np.testing.assert_allclose(run(graph, X, MEMORY, MEMORY_MASK), expected, atol=1e-12)


def test_grouped_heads() -> None:
    graph = graph_of(nn.MultiHeadAttention(8, 4, kv_heads=2, bias=False), ROWS)
    w = weights(graph)
    assert w["key.weight"].shape == w["value.weight"].shape == (4, 8)
    np.testing.assert_allclose(run(graph, X), attention(w, "", x, x, 4, 2), atol=1e-12)


def test_window() -> None:
    graph = graph_of(nn.MultiHeadAttention(8, 2, window=(1, 1)), ROWS)
    near = np.abs(np.arange(5) - np.arange(5)[:, None]) <= 1
    np.testing.assert_allclose(run(graph, X), attention(weights(graph), "", x, x, allowed=near), atol=1e-12)


def test_soft_capped_scores() -> None:
    layer = nn.MultiHeadAttention(8, 2, softcap=0.5)
    (node,) = [n for n in graph_of(layer, ROWS).nodes if n.op.name == "attention"]
    assert node.attrs["softcap"] == 0.5
    with pytest.raises(tg.OpError, match="'softcap' must be"):
        graph_of(nn.MultiHeadAttention(8, 2, softcap=-1.0), ROWS)


def rotate(x: np.ndarray) -> np.ndarray:
    """Each pair (x[c], x[c + half]) is a complex number, turned by position / 10000^(2c / size)."""
    half = x.shape[-1] // 2
    turned = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * np.arange(len(x))[:, None] / 10000 ** (np.arange(half) / half))
    return np.concatenate([turned.real, turned.imag], axis=-1)


def test_rotary_positions() -> None:
    graph = graph_of(nn.MultiHeadAttention(8, 2, rotary=nn.RotaryPositions(4, max_length=16)), ROWS)
    # the table of angles is f32
    np.testing.assert_allclose(run(graph, X), attention(weights(graph), "", x, x, rotate=rotate), atol=1e-6)


def test_rotary_positions_of_neighbours() -> None:
    """The same rotation of other pairs."""
    order = [0, 2, 1, 3]  # neighbours become partners in halves
    halves, neighbours = (run(tg.trace(nn.RotaryPositions(4, 16, interleaved=i), x=tg.f32[1, 1, S, 4]), q)
                          for i, q in ((False, X[:, None, :, :4][:1][..., order]), (True, X[:, None, :, :4][:1])))
    np.testing.assert_allclose(neighbours[..., order], halves, atol=1e-12)


def test_rotary_attention_sees_distances_alone() -> None:
    graph = tg.trace(nn.RotaryPositions(4, max_length=64), x=tg.f32[1, 1, S, 4])
    q, k = np.tile([1.0, 2.0, 3.0, 4.0], (1, 1, 40, 1)), np.tile([0.5, -1.0, 2.0, 0.25], (1, 1, 40, 1))
    scores = (run(graph, q) @ run(graph, k).swapaxes(2, 3))[0, 0]
    np.testing.assert_allclose(scores[5:, 5:], scores[:-5, :-5], atol=1e-5)


def test_learned_and_sinusoidal_positions() -> None:
    graph = graph_of(nn.LearnedPositions(6, 8), ROWS)
    np.testing.assert_allclose(run(graph, X), x + weights(graph)["weight"][:5], atol=1e-12)
    with pytest.raises(tg.InputError, match=r"outside of 0 \.\. 5"):
        run(graph, MEMORY)
    table = np.array([[math.sin(p / 10000 ** (c / 8)) if c % 2 == 0 else math.cos(p / 10000 ** ((c - 1) / 8)) for c in range(8)]
                      for p in range(5)])
    np.testing.assert_allclose(run(graph_of(nn.SinusoidalPositions(16, 8), ROWS), X), x + table, atol=1e-7)


def encoder_layer(w: Weights, name: str, x: np.ndarray, first: bool, allowed: np.ndarray | None) -> np.ndarray:
    feed = lambda x: linear(w, f"{name}ffn.down", gelu(linear(w, f"{name}ffn.up", x)))
    attend = lambda x: attention(w, f"{name}attention.", x, x, allowed=allowed)
    if first:
        x = x + attend(norm(w, f"{name}norm1", x))
        return x + feed(norm(w, f"{name}norm2", x))
    x = norm(w, f"{name}norm1", x + attend(x))
    return norm(w, f"{name}norm2", x + feed(x))


@pytest.mark.parametrize("first", [False, True], ids=["post_norm", "pre_norm"])
def test_encoder(first: bool) -> None:
    graph = graph_of(nn.Encoder(2, 8, 2, 12, norm_first=first), ROWS, mask=tg.bool_[B, S])
    w, expected = weights(graph), x
    for layer in range(2):
        expected = encoder_layer(w, f"layer.{layer}.", expected, first, MASK[:, None])
    expected = norm(w, "norm", expected) if first else expected
    np.testing.assert_allclose(run(graph, X, MASK), expected, atol=1e-11)
    compiled = tg.compile(graph, "cpu")(X.astype(np.float32), MASK)
    np.testing.assert_allclose(compiled, expected, atol=2e-5)


@pytest.mark.parametrize("first", [False, True], ids=["post_norm", "pre_norm"])
def test_decoder(first: bool) -> None:
    graph = graph_of(nn.Decoder(1, 8, 2, 12, norm_first=first), ROWS, memory=tg.f32[B, T, 8], mask=tg.bool_[B, S],
                     memory_mask=tg.bool_[B, T])
    w, name = weights(graph), "layer.0."
    feed = lambda x: linear(w, f"{name}ffn.down", gelu(linear(w, f"{name}ffn.up", x)))
    attend = lambda x: attention(w, f"{name}attention.", x, x, allowed=CAUSAL & MASK[:, None])
    cross = lambda x: attention(w, f"{name}cross_attention.", x, memory, allowed=MEMORY_MASK[:, None])
    expected = x
    for number, branch in enumerate((attend, cross, feed), 1):
        n = f"{name}norm{number}"
        expected = expected + branch(norm(w, n, expected)) if first else norm(w, n, expected + branch(expected))
    expected = norm(w, "norm", expected) if first else expected
    np.testing.assert_allclose(run(graph, X, MEMORY, MASK, MEMORY_MASK), expected, atol=1e-11)
    feeds = (X.astype(np.float32), MEMORY.astype(np.float32), MASK, MEMORY_MASK)
    np.testing.assert_allclose(tg.compile(graph, "cpu")(*feeds), expected, atol=2e-5)


@pytest.mark.parametrize(("build", "text"), [
    (lambda: nn.MultiHeadAttention(8, 3), "3 heads do not divide the hidden size 8"),
    (lambda: nn.MultiHeadAttention(8, 0), "0 heads"), (lambda: nn.MultiHeadAttention(8, 4, kv_heads=3),
                                                       "3 key heads do not divide 4"),
    (lambda: nn.FeedForward(8, 8, "swish"), "unknown activation 'swish'; known: gelu"),
    (lambda: nn.RotaryPositions(5), "even head_dim, got 5"),
    (lambda: nn.SinusoidalPositions(4, 5), "even hidden size, got 5")])
def test_layers_that_cannot_be(build: Callable[[], Any], text: str) -> None:
    with pytest.raises(tg.TraceError, match=text) as raised:
        build()
    assert "test_nn_layers.py" in str(raised.value)


def test_heads_that_do_not_divide_what_comes() -> None:
    with pytest.raises(tg.TraceError, match="3 heads do not divide"):
        tg.trace(lambda x: nn.split_heads(x, 3), x=ROWS)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(("causal", "window", "given"), [
    (False, None, None), (True, None, "keys"), (False, 2, "keys"), (True, 2, "pairs"), (True, 3, None)])
def test_dot_product_attention(causal: bool, window: int | None, given: str | None) -> None:
    """Grouped heads, a scale, a bias, and all combinations of what a query sees; beside it the weights themselves."""
    layer, weights = nn.DotProductAttention(2, causal=causal, window=window, scale=0.25), []
    shared = nn.DotProductAttention(4, 2, causal=causal, window=window, scale=0.25)
    masks = {"keys": tg.bool_[B, S], "pairs": tg.bool_[B, S, S]}
    specs = {"query": ROWS, "bias": tg.f32[2, S, S], **({"mask": masks[given]} if given else {})}
    place = np.arange(5)
    seen = np.tril(np.ones((5, 5), bool)) if causal else np.ones((5, 5), bool)
    seen = seen if window is None else seen & (np.abs(place[:, None] - place) < window)
    mask = {None: None, "keys": MASK, "pairs": np.random.default_rng(1).random((2, 5, 5)) < 0.9}[given]
    if mask is not None:
        seen = seen & (mask[:, None, :] if given == "keys" else mask)
    bias = RNG.standard_normal((2, 5, 5))

    def attend(query, bias, mask=None):  # type: ignore[no-untyped-def]
        half = query[..., :4]
        wide = layer(query, query, query, mask, bias[None], weights=weights)
        return {"wide": wide, "weights": weights[0], "shared": shared(query, half, half, mask)}

    outputs = tg.reference.run(tg.trace(attend, **specs), {
        "query": X.astype(np.float32), "bias": bias.astype(np.float32), **({} if mask is None else {"mask": mask})})
    heads = x.reshape(2, 5, 2, 4).transpose(0, 2, 1, 3)
    scores = heads @ heads.swapaxes(2, 3) * 0.25 + rounded(bias)
    allowed = np.broadcast_to(seen if seen.ndim == 2 else seen[:, None], scores.shape)
    expected = softmax(np.where(allowed, scores, -1e30)) * allowed.any(-1, keepdims=True)
    np.testing.assert_allclose(outputs["wide"], (expected @ heads).transpose(0, 2, 1, 3).reshape(2, 5, 8), atol=1e-9)
    some = allowed.any(-1)
    np.testing.assert_allclose(outputs["weights"][some], expected[some], atol=1e-9)
    queries, keys = (x[..., :n].reshape(2, 5, n // 2, 2).transpose(0, 2, 1, 3) for n in (8, 4))
    keys = np.repeat(keys, 2, axis=1)
    allowed = np.broadcast_to(seen if seen.ndim == 2 else seen[:, None], (2, 4, 5, 5))
    expected = softmax(np.where(allowed, queries @ keys.swapaxes(2, 3) * 0.25, -1e30)) * allowed.any(-1, keepdims=True)
    np.testing.assert_allclose(outputs["shared"], (expected @ keys).transpose(0, 2, 1, 3).reshape(2, 5, 8), atol=1e-9)


def test_rotary_angles_of_any_positions() -> None:
    angles = nn.RotaryAngles(4)
    positions = np.array([[0, 1, 2], [7, 100, 3]])

    def turned(q, positions):  # type: ignore[no-untyped-def]
        return tg.rotary(q, *angles(positions))

    q = RNG.standard_normal((2, 1, 3, 4)).astype(np.float32)
    found = tg.reference.run(tg.trace(turned, q=tg.f32[B, 1, S, 4], positions=tg.i64[B, S]), {"q": q, "positions": positions})
    pairs = q[..., :2].astype(float) + 1j * q[..., 2:]
    expected = pairs * np.exp(1j * positions[:, None, :, None] / 10000 ** (np.arange(2) / 2))
    np.testing.assert_allclose(found["output"], np.concatenate([expected.real, expected.imag], axis=-1), atol=1e-6)
    one = tg.reference.run(tg.trace(turned, q=tg.f32[B, 1, S, 4], positions=tg.i64[S]), {"q": q, "positions": positions[1]})
    np.testing.assert_allclose(one["output"][1], found["output"][1], atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_relative_position_bias(causal: bool) -> None:
    """Distances up to a quarter (half, if causal) of the buckets have their own, the others by logarithm, as T5's paper says."""
    layer = nn.RelativePositionBias(2, buckets=8, max_distance=16, causal=causal)
    graph = graph_of(layer, queries=tg.i64[S], keys=tg.i64[T])
    queries, keys = np.array([0, 3, 30]), np.array([0, 1, 2, 3, 4, 5, 9, 40])
    bias = tg.reference.run(graph, {"queries": queries, "keys": keys})["output"]
    table = weights(graph)["weight"]

    def bucket(distance: int) -> int:  # of the key, from the query
        side, offset = (8, 0) if causal else (4, 4 if distance > 0 else 0)
        size = max(-distance, 0) if causal else abs(distance)
        exact = side // 2
        far = exact + int(math.log(max(size, 1) / exact) / math.log(16 / exact) * (side - exact))
        return offset + (size if size < exact else min(far, side - 1))

    expected = np.array([[table[bucket(k - q)] for k in keys] for q in queries]).transpose(2, 0, 1)[None]
    assert np.array_equal(bias, expected)


def test_heads_of_dot_product_attention_that_cannot_be() -> None:
    with pytest.raises(tg.TraceError, match="3 key heads do not divide 4 query heads"):
        nn.DotProductAttention(4, 3)
    with pytest.raises(tg.TraceError, match="even head_dim, got 5"):
        nn.RotaryAngles(5)


@pytest.mark.parametrize(("empty_row", "expected"), [("uniform", 1 / 5), ("zero", 0.0)])
def test_weights_of_a_query_with_no_key_left(empty_row: Any, expected: float) -> None:
    def weights(q: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
        return nn.attention_weights(q, q, mask, empty_row=empty_row)

    graph = tg.trace(weights, q=tg.f32[B, 2, S, 4], mask=tg.bool_[B, S])
    mask = np.array([[True] * 5, [False] * 5])
    found = tg.reference.run(graph, {"q": RNG.standard_normal((2, 2, 5, 4)).astype(np.float32), "mask": mask})["output"]
    assert np.allclose(found[0].sum(-1), 1) and np.allclose(found[1], expected)


def test_weights_of_heads_that_do_not_fit_are_an_error_of_the_users_line() -> None:
    with pytest.raises(tg.OpError, match=r"attention_weights.*multiple of the key heads(.|\n)*test_nn_layers\.py"):
        tg.trace(nn.attention_weights, query=tg.f32[B, 3, S, 4], key=tg.f32[B, 2, S, 4])
