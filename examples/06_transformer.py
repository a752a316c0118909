"""The encoder-decoder Transformer: layers of attention, residuals, normalisation and a feed-forward network, and its generation.

    python examples/06_transformer.py
"""

import numpy as np

import tgraph as tg
from tgraph import nn
from tgraph.models.transformer import Transformer

B, S, T = tg.dims("B S T")


class EncoderLayer(nn.Module):
    """x + attention(x), normalised; then x + ffn(x), normalised (arXiv:1706.03762, section 3.1)."""

    def __init__(self, dim, heads, hidden):
        self.attention, self.norm1 = nn.MultiHeadAttention(dim, heads), nn.LayerNorm(dim)
        self.ffn, self.norm2 = nn.FeedForward(dim, hidden, "relu"), nn.LayerNorm(dim)

    def __call__(self, x, mask=None):
        x = self.norm1(x + self.attention(x, mask=mask))
        return self.norm2(x + self.ffn(x))


if __name__ == "__main__":
    print(tg.optimize(tg.trace(EncoderLayer(64, 4, 128), x=tg.f32[B, S, 64], mask=tg.bool_[B, S])))
    model = Transformer(source_vocab=100, target_vocab=90, dim=64, heads=4, hidden=128, layers=2, max_length=64)
    program = tg.trace_program(model, start={"source": tg.i64[B, S].range(0, 100), "source_mask": tg.bool_[B, S]},
                               step=tg.i64[B, T].range(0, 90))
    translate = tg.compile(program)
    source = np.array([[5, 8, 13, 21, 34], [3, 1, 4, 0, 0]])
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    session = translate.session(B=2, C=16)  # keys and values of up to 16 target tokens
    session.start(source, mask)
    greedy = tg.generate(session, [[0], [0]], max_new_tokens=6)  # 0 begins a sentence
    print("greedy (random weights):", greedy.tokens)
    session.start(source, mask)
    print("4 beams:", tg.generate(session, [[0], [0]], max_new_tokens=6, method="beam", beams=4).tokens)

    whole = tg.trace(model, source=tg.i64[B, S], target=tg.i64[B, T], source_mask=tg.bool_[B, S])
    target = np.zeros((2, 1), np.int64)
    for _ in range(6):  # the same by the reference, without a memory: every step computes everything again
        scores = tg.reference.run(whole, {"source": source, "target": target, "source_mask": mask})["output"]
        target = np.concatenate([target, scores[:, -1:].argmax(-1)], axis=1)
    assert target[:, 1:].tolist() == greedy.tokens
