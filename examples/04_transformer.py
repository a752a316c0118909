"""The encoder-decoder Transformer: one graph that encodes, one that scores the next token, and a greedy loop.

    python examples/04_transformer.py
"""

import numpy as np

import tgraph as tg
from tgraph.models.transformer import Transformer

B, S, T = tg.dims("B S T")

if __name__ == "__main__":
    model = Transformer(source_vocab=100, target_vocab=90, dim=64, heads=4, hidden=128, layers=2, max_length=64)
    encode = tg.compile(tg.trace(model.encode, tg.i64[B, S], tg.bool_[B, S]))
    decode = tg.compile(tg.trace(model.decode, tg.f32[B, S, 64], tg.i64[B, T], tg.bool_[B, S]))
    source = np.array([[5, 8, 13, 21, 34], [3, 1, 4, 0, 0]])
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    memory = encode(source, mask)
    target = np.zeros((2, 1), np.int64)  # 0 begins a sentence
    for _ in range(6):
        scores = decode(memory, target, mask)
        target = np.concatenate([target, scores[:, -1:].argmax(-1)], axis=1)
    print("greedy decoding (random weights):", target.tolist())
    print(tg.check(encode), tg.check(decode), sep="\n")
