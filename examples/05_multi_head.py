"""Multi-head attention with padding, causal masks, a context to attend to, grouped heads and rotary positions.

    python examples/05_multi_head.py
"""

import numpy as np

import tgraph as tg
from tgraph import nn

B, S, T = tg.dims("B S T")


class Block(nn.Module):
    """Causal self-attention with two key heads for eight query heads, then attention to a padded context."""

    def __init__(self, dim=64, heads=8):
        self.own = nn.MultiHeadAttention(dim, heads, kv_heads=2, rotary=nn.RotaryPositions(dim // heads))
        self.cross = nn.MultiHeadAttention(dim, heads)

    def __call__(self, x, context, mask):
        x = x + self.own(x, causal=True)
        return x + self.cross(x, context, mask=mask)


if __name__ == "__main__":
    graph = tg.trace(Block(), x=tg.f32[B, T, 64], context=tg.f32[B, S, 64], mask=tg.bool_[B, S])
    exe = tg.compile(graph)
    print(exe.source("kernels"))
    rng = np.random.default_rng(0)
    x, context = rng.standard_normal((2, 6, 64)).astype("float32"), rng.standard_normal((2, 9, 64)).astype("float32")
    mask = np.arange(9) < np.array([[9], [4]])
    y = exe(x, context, mask)
    later = x.copy()
    later[:, 5] += 1.0  # the last token cannot change what the earlier ones see
    assert np.array_equal(exe(later, context, mask)[:, :5], y[:, :5])
    print(tg.check(exe))
